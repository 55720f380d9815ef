"""What a visitor of the repository finds: continuous integration, credits, links that lead somewhere."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
REFERENCES = ("API.md", "monitor-api.md")
PAGES = [*Path().glob("*.md"), *Path("docs").glob("*.md")]


def test_continuous_integration_runs_what_everybody_runs() -> None:
    """The workflow calls .ci/run, which is `make test`, on the oldest Python that is promised and a newer one."""
    (job,) = yaml.safe_load(Path(".github/workflows/ci.yml").read_text("utf-8"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(".ci/run", os.X_OK)
    assert Path(".ci/run").read_text("utf-8").splitlines()[-1] == "make test"
    oldest, *newer = job["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert newer


def test_every_library_is_credited() -> None:
    """Whoever adds a dependency to pyproject.toml names it in CREDITS.md."""
    asked = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in asked} - {"golek"}
    credits_page = Path("CREDITS.md").read_text("utf-8")
    assert [name for name in sorted(names) if not re.search(rf"\b{re.escape(name)}\b", credits_page)] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of this repository names one that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> list[str]:
    """Of its headings, as links name them; those within blocks of code are none."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in REFERENCES], ids=str)
def test_no_section_stands_in_a_page_twice(page: Path) -> None:
    """Of pages that people write: a reference may have a route and a form of one name."""
    found = anchors(page)
    assert sorted(set(found)) == sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_to_sections_name_one(page: Path) -> None:
    """In the same page, or in another one of this repository."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text("utf-8"))
    pages = [(page.parent / name if name else page, section) for name, section in links]
    assert [(str(to), section) for to, section in pages if to.suffix == ".md" and section not in anchors(to)] == []


def test_the_map_has_every_folder_and_names_only_what_is_there() -> None:
    """A row of docs/architecture.md for each folder of modules; each module that a row names lies in its folder."""
    page = Path("docs/architecture.md").read_text("utf-8")
    found = re.findall(r"^\| `(golek_[a-z/*.]+)` \| (.*) \|$", page, re.MULTILINE)
    assert len(found) == len({folder for folder, _ in found}), "a folder stands twice: a merge took both rows"
    rows = {folder: text for folder, text in found if "*" not in folder}
    modules = [file for top in Path().glob("golek_*/") for file in top.rglob("*.py") if file.name != "__init__.py"]
    assert {str(file.parent) for file in modules} - {"golek_worker"} == set(rows)
    named = {f"{folder}/{word}.py" for folder, text in rows.items() for word in re.findall(r"`([a-z_]+)`", text)}
    commands = {"golek_client/golek.py", "golek_worker/machine/golek.py", "golek_worker/machine/make.py"}
    assert named - commands - set(map(str, modules)) == set()


@pytest.mark.parametrize("page", [Path("README.md"), Path("docs/architecture.md"), Path("docs/commands.md")], ids=str)
def test_what_stands_in_a_table_stands_there_once(page: Path) -> None:
    """No two rows of a table begin alike, as they do when two people's changes were joined line by line."""
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text("utf-8"), re.MULTILINE):
        firsts = re.findall(r"^\| ((?:\\\||[^|])+) \|", table, re.MULTILINE)
        assert len(firsts) > 1
        assert sorted(firsts) == sorted(set(firsts))
