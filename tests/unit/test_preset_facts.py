"""Presets on a machine: sizes, tiers, where models go, and what is in the way."""

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from golek_worker.commands.presets import presets
from golek_worker.machine import engine_check, fitting, preset_facts
from golek_worker.machine.fitting import GB, MEMORY, Device, Load, Placed, Tier, place, tier
from golek_worker.machine.modelfiles import ModelError
from tests.support.workers import ROOT

GIB = 2**30


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deployments, the catalogue and golek-tiny, in a folder of its own; no GPU, and 16 GiB of memory."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "catalog").symlink_to(ROOT / "data" / "catalog")
    (tmp_path / "data" / "prompts").symlink_to(ROOT / "data" / "prompts")
    (tmp_path / "data" / "models" / "golek-tiny").symlink_to(ROOT / "data" / "models" / "golek-tiny")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "presets.yaml").write_text(
        "X1: {models: [echo, golek-tiny, golek-tiny], mode: debate}\nX2: {models: [echo, nobodys], mode: ensemble}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_check, "gpus", list)
    monkeypatch.setattr(preset_facts, "free_bytes", lambda: 16 * GIB)
    return tmp_path


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "Light"), (7.99, "Light"), (8, "Medium"), (11.99, "Medium"), (12, "Full"), (14.99, "Full"), (15, "Server")],
)
def test_a_tier_goes_by_the_size_of_the_files(size: float, expected: Tier) -> None:
    """Below 8, 12 and 15 GB of 10⁹ bytes."""
    assert tier(round(size * GB)) == expected


def test_every_shipped_preset_has_a_size_and_a_tier(project: Path) -> None:
    """By the catalogue, where no file is here; D4v2, for which nobody prints a size, too."""
    rows = {row.id: row for row in preset_facts.rows(preset_facts.known().values())}
    assert len(rows) == 52
    shipped = [row for row in rows.values() if row.id not in ("X1", "X2")]
    assert all(row.size_gb is not None and row.tier in get_args(Tier) and row.here == 0 for row in shipped)
    assert (rows["D4v2"].size_gb, rows["D4v2"].stated_gb, rows["D4v2"].tier) == (9.7, None, "Medium")
    sums = {name: rows[name].size_gb for name in ("P4", "P5", "P6")}
    assert sums == {"P4": 44.0, "P5": 45.2, "P6": 56.8}, "not as printed: 38.9, 40.1, 53.2"
    off = [row.id for row in shipped if row.stated_gb and row.size_gb and abs(row.size_gb - row.stated_gb) > 1.0]
    assert off == ["P4", "P5", "P6"], "all others are as printed, but for rounding"


def test_the_documentation_has_each_preset_in_its_tier(project: Path) -> None:
    """As computed of the catalogue."""
    text = (ROOT / "docs" / "orchestration.md").read_text().partition("## Sizes and tiers")[2]
    told = {
        row[0]: row[2].split(", ")
        for row in re.findall(r"^\| (Light|Medium|Full|Server) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    }
    rows = [row for row in preset_facts.rows(preset_facts.known().values()) if row.id not in ("X1", "X2")]
    assert told == {name: [row.id for row in rows if row.tier == name] for name in get_args(Tier)}


def test_a_file_that_is_here_counts_as_it_is(project: Path) -> None:
    """And one that is named twice is loaded once; an engine without a file takes nothing."""
    (row,) = preset_facts.rows([preset_facts.find("X1")])
    tiny = (ROOT / "data" / "models" / "golek-tiny" / "model.gguf").stat().st_size
    assert preset_facts.size_of(preset_facts.parts_of(preset_facts.find("X1"))) == tiny
    assert (row.here, row.of, row.tier, row.stated_gb) == (2, 2, "Light", None)


def test_what_can_run_here_is_placed(project: Path) -> None:
    """Each model that takes memory has a place, and nothing is in the way."""
    found = preset_facts.check(preset_facts.find("X1"))
    assert found.problems == []
    assert {model: one.where for model, one in found.places.items()} == {"golek-tiny": MEMORY}
    assert [(part.model, part.state) for part in found.parts] == [("echo", "no file"), ("golek-tiny", "present")]


def test_what_is_in_the_way_is_told_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name nobody knows; and of models that do not fit together, which and by how much."""
    (problem,) = preset_facts.check(preset_facts.find("X2")).problems
    assert problem.startswith("nobodys: nobodys: unknown here")
    monkeypatch.setattr(preset_facts, "free_bytes", lambda: 8 * GIB)
    found = preset_facts.check(preset_facts.find("D3"))
    assert found.places["phi-4"].where == MEMORY
    assert [one for one in found.problems if one.startswith("deepseek-r1-7b: needs 4.4 GiB, and 3.7 GiB are missing")]


def test_a_stage_that_is_not_there_is_in_the_way(project: Path) -> None:
    """Told with file and preset in the list, shown, and checked; it may be added before the preset is asked."""
    file = project / "config" / "presets.yaml"
    file.write_text("X3: {models: [echo, golek-tiny], mode: pipeline, stages: [draft, polsih]}\n")
    (listed,) = preset_facts.problems()
    assert listed.startswith("config/presets.yaml: X3.stages: no stage polsih")
    preset = preset_facts.find("X3")
    assert preset_facts.facts(preset)["problem"].startswith("stages: no stage polsih")
    assert listed in preset_facts.check(preset).problems


def test_what_would_be_downloaded_is_told(project: Path) -> None:
    """With its size; that is not in the way. A preset whose files are here is plainly ok."""
    said = CliRunner().invoke(presets, ["check", "S6"])
    assert said.exit_code == 0, said.output
    last = said.output.splitlines()[-1]
    assert re.fullmatch(r"ok once \d+\.\d GB are downloaded \(.+\), which `golek presets start S6` does", last)
    assert CliRunner().invoke(presets, ["check", "X1"]).output.splitlines()[-1] == "ok"


def test_a_name_that_is_none_is_guessed(project: Path) -> None:
    """In other capitals, too."""
    for name in ("d3", "D33"):
        with pytest.raises(ModelError, match=r"no such preset; did you mean D3\? `golek presets list` has all"):
            preset_facts.find(name)


def test_facts_say_who_does_what(project: Path) -> None:
    """By the row's own word where it says it, else by roles."""
    facts = preset_facts.facts(preset_facts.find("Q2"))
    assert facts["who does what"] == {
        "1. draft": "llama-3.2-3b", "2. refine": "phi-3-medium-128k", "3. refine": "qwen2.5-7b",
        "4. validate": "phi-4", "compressor": "llama-3.2-3b",
    }  # fmt: skip
    assert preset_facts.facts(preset_facts.find("D8"))["who does what"]["critic"] == "phi-4"


TWO = [Device("CUDA0", 24 * GIB), Device("CUDA1", 48 * GIB)]


@pytest.mark.parametrize(
    ("loads", "gpus", "memory", "where"),
    [
        ([("a", 8), ("b", 8)], [], 20, [MEMORY, MEMORY]),
        ([("a", 8), ("b", 14)], [], 20, ["", MEMORY]),
        ([("a", 30), ("b", 20), ("c", 23)], TWO, 8, ["CUDA1", "", "CUDA0"]),
        ([("a", 60)], TWO, 8, ["CUDA0+CUDA1"]),
        ([("a", 80)], TWO, 100, [MEMORY]),
    ],
)
def test_models_go_where_most_is_free(
    loads: list[tuple[str, int]], gpus: list[Device], memory: int, where: list[str]
) -> None:
    """Whole on one GPU, else on all, else into memory; the largest first, and what does not fit takes nothing."""
    found = place([Load(name, size * GIB) for name, size in loads], gpus, memory * GIB)
    assert [one.where for one in found] == where


def test_settings_narrow_where_a_model_may_go() -> None:
    """GPU_DEVICES names some, GPU_LAYERS=0 none; what is missing is told."""
    assert place([Load("a", GIB, on=("CUDA0",))], TWO, 0)[0].where == "CUDA0"
    assert place([Load("a", GIB, may_use_gpu=False)], TWO, 2 * GIB)[0].where == MEMORY
    assert place([Load("a", 3 * GIB, may_use_gpu=False)], TWO, 2 * GIB)[0] == Placed("a", "", 3 * GIB, GIB)


@given(
    st.lists(st.integers(1, 60), max_size=8),
    st.lists(st.integers(0, 50), max_size=3),
    st.integers(0, 80),
)
def test_nothing_is_given_away_twice(sizes: list[int], gpus: list[int], memory: int) -> None:
    """What is placed on a device is never more than was free there, and who has no place lacks something."""
    devices = [Device(f"CUDA{number}", free * GIB) for number, free in enumerate(gpus)]
    found = place([Load(str(number), size * GIB) for number, size in enumerate(sizes)], devices, memory * GIB)
    assert [one.model for one in found] == [str(number) for number in range(len(sizes))]
    room = {one.name: one.free for one in devices} | {MEMORY: memory * GIB}
    for name, free in room.items():
        assert sum(one.bytes for one in found if one.where == name) <= free
    assert sum(one.bytes for one in found if one.where) <= sum(room.values())
    assert all((one.short > 0) == (not one.where) for one in found)
    assert fitting.MEMORY == MEMORY
