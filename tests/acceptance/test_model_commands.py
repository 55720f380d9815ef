"""`golek models list|show|pull|verify|rm`, with real files, a hub and a server of files on real sockets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from golek_worker import process
from golek_worker.commands.workers import app
from golek_worker.machine import modelfiles, runfile
from golek_worker.machine.runfile import RunState
from golek_worker.registry import download, entries, origin, projector
from golek_worker.registry.entries import CATALOG
from golek_worker.registry.report import DownloadError
from tests.support.files import FileServer
from tests.support.hub import Hub, sha256

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "data" / "models" / "golek-tiny" / "model.gguf"
BYTES = TINY.read_bytes()
SOURCE = "hf:own/repo/near.Q4_K_M.gguf"
CATALOGUE = f"""
models:
  - {{id: near, kind: inference, source: "{SOURCE}", size_bytes: {len(BYTES)}, verified: false, from: tests,
     context_length: 1024, roles: [fast]}}
  - {{id: cast, kind: embedding, about_gb: 0.1, verified: true, from: tests, made_by: run make.py}}
  - {{id: eyes, kind: vision, verified: false, from: tests, unavailable: nobody has named a file}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a catalogue of three."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    for key in ("HF_TOKEN", "HF_HUB_OFFLINE", "GOLEK_DATA", "GOLEK_OFFLINE", "MODELS_FILE"):
        monkeypatch.delenv(key, raising=False)
    (tmp_path / CATALOG).parent.mkdir(parents=True)
    (tmp_path / CATALOG).write_text(CATALOGUE)
    return tmp_path


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub({"own/repo/near.Q4_K_M.gguf": BYTES}) as running:
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        yield running


def golek(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["models", *arguments], input=typed)


def said(*arguments: str, typed: str = "") -> str:
    """What a command that succeeds says."""
    done = golek(*arguments, typed=typed)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str) -> str:
    """What one says that does not."""
    done = golek(*arguments)
    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output


def put(project: Path, name: str, content: bytes = BYTES) -> Path:
    file = project / "data" / "models" / name / "model.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def rows() -> dict[str, dict[str, object]]:
    listed: list[dict[str, object]] = msgspec.json.decode(said("list", "--json"))
    return {str(row["name"]): row for row in listed}


def test_list_has_the_catalogue_deployments_and_files(project: Path) -> None:
    """Each with what is known: from the file when it is here, from the catalogue when it is not."""
    put(project, "near")
    put(project, "mine")
    put(project, "bad", b"no model")
    (project / "envs").mkdir()
    (project / "envs" / "worker.far.env").write_text(f"MODEL_NAME=far\nMODEL_SOURCE={SOURCE}\n")
    known = rows()
    states = {name: row["state"] for name, row in known.items()}
    assert states == {
        "near": "present", "mine": "present", "bad": "broken", "far": "missing", "cast": "to be made",
        "eyes": "unavailable",
    }  # fmt: skip
    assert known["near"]["quantization"] == "F16", "the file knows better than the catalogue"
    assert (known["near"]["roles"], known["mine"]["context_length"]) == (["fast"], 2048)
    assert known["far"]["where"] == SOURCE
    text = said("list", "--here")
    assert "bad: data/models/bad/model.gguf: not a GGUF file" in text
    assert "eyes" not in text


def test_list_tells_what_of_a_users_own_list_has_no_effect(project: Path) -> None:
    """Beside the table, on standard error."""
    (project / "config").mkdir()
    (project / "config" / "models.yaml").write_text(
        "models: {near: {gpu_layers: 3, colour: red}}\nextras: {}\npresets: {}\n"
    )
    done = golek("list")
    assert "note: config/models.yaml: extras: has no effect yet" in done.stderr
    assert "presets" not in done.stderr, "a router reads them"
    assert "note: config/models.yaml: near: colour: not known here, without effect" in done.stderr
    assert msgspec.json.decode(said("show", "near", "--json"))["deployment_settings"]["GPU_LAYERS"] == 3


def test_show_tells_what_the_file_says(project: Path) -> None:
    """Catalogue, file and deployment; for programs the same as JSON."""
    put(project, "near")
    text = said("show", "near")
    assert "architecture" in text
    facts = msgspec.json.decode(said("show", "near", "--json"))
    assert facts["file_says"]["context_length"] == 2048
    assert facts["deployment_settings"]["CTX_SIZE"] == 1024, "the catalogue's is what a worker would run with"
    assert facts["catalogue"]["from"] == "tests"
    assert facts["memory"].startswith("needs ")
    assert "nobody has named a file" in said("show", "eyes")


def test_pull_a_name_then_verify_then_remove(hub: Hub, project: Path) -> None:
    """From the catalogue to the disk and off it again; what is freed is what was said."""
    text = said("pull", "near")
    assert f"{SOURCE} to data/models/near/model.gguf, 4 MB; nobody has checked" in text
    assert f"verified: sha256 {sha256(BYTES)}" in text
    assert said("pull", "near") == "data/models/near/model.gguf is there already\n"
    assert f"sha256 {sha256(BYTES)}, as its download from {SOURCE} says" in said("verify", "near")
    assert "delete, which frees 4 MB? [y/N]" in golek("rm", "near", typed="n\n").output
    assert rows()["near"]["state"] == "present"
    assert "4 MB freed" in said("rm", "near", typed="y\n")
    assert rows()["near"]["state"] == "missing"
    assert list((project / "data/models/near").iterdir()) == []


def test_pull_a_model_with_its_eyes(project: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files, and the second one alone where the first is there; offline it is told where to put them."""
    eyes = project / "data/models/sees/mmproj.gguf"
    text = CATALOGUE + f'  - {{id: sees, kind: inference, source: "{SOURCE}", projector: "hf:own/repo/eyes.gguf", '
    (project / CATALOG).write_text(text + "verified: false, from: tests}\n")
    hub.files["own/repo/eyes.gguf"] = BYTES
    assert f"hf:own/repo/eyes.gguf to {eyes.relative_to(project)}" in said("pull", "sees")
    assert eyes.read_bytes() == BYTES
    assert said("pull", "sees") == "data/models/sees/model.gguf is there already\n"
    eyes.unlink()
    assert "4 MB in" in said("pull", "sees")
    assert eyes.is_file()
    eyes.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE=1 forbids to download the model's eyes"):
        projector.wanted(modelfiles.find("sees").chosen, eyes.with_name("model.gguf"))


def test_pull_again_replaces_the_file(hub: Hub, project: Path) -> None:
    """--force downloads it although it is there, and a damaged one is found by verify before."""
    said("pull", "near")
    file = project / "data/models/near/model.gguf"
    file.write_bytes(BYTES[:-1] + b"x")
    text = refused("verify", "near")
    assert f"but its download from {SOURCE} says {sha256(BYTES)}" in text
    assert "`golek models pull near --force` downloads it again" in text
    said("pull", "near", "--force")
    assert file.read_bytes() == BYTES
    assert len(hub.gets()) == 2


@pytest.mark.parametrize("scheme", ["http", "s3", "file"])
def test_pull_a_source(project: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A source needs no catalogue and no deployment; the model is named like its file, or as --name says."""
    with FileServer({"zoo/Tiny.Q8.gguf": BYTES}) as server:
        for key, value in server.environment().items():
            monkeypatch.setenv(key, value)
        (project / "Tiny.Q8.gguf").write_bytes(BYTES)
        place = {"http": f"{server.url}/zoo/Tiny.Q8.gguf", "s3": "s3://zoo/Tiny.Q8.gguf", "file": "./Tiny.Q8.gguf"}
        said("pull", place[scheme], "--sha256", sha256(BYTES))
        said("pull", place[scheme], "--name", "mine")
    known = rows()
    assert known["Tiny.Q8"]["state"] == known["mine"]["state"] == "present"
    wrong = refused("pull", place[scheme], "--sha256", "0" * 64)
    assert "wanted is 000" in wrong
    assert "--force replaces it" in wrong


def test_a_linked_file_frees_nothing(project: Path) -> None:
    """As long as the file has its other name the disk is no emptier, and rm does not say so."""
    (project / "own.gguf").write_bytes(BYTES)
    said("pull", "./own.gguf", "--name", "mine")
    assert (project / "data/models/mine/model.gguf").samefile(project / "own.gguf")
    assert "1 kB freed" in said("rm", "mine", "--yes")  # what was noted of its origin
    assert (project / "own.gguf").read_bytes() == BYTES


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("pull", "nea"), "nea: unknown here; did you mean near? known are cast, eyes, near; or give a source: hf:"),
        (("pull", "cast"), "cast: it is not downloaded but made: run make.py"),
        (("pull", "eyes"), "eyes: nobody has named a file"),
        (("pull", "ftp://h/m.gguf"), "ftp://h/m.gguf: hf:<owner>"),
        (("pull", "near", "--sha256", "12"), "--sha256 12: 64 hexadecimal digits"),
        (("pull", "s3://b/a b.gguf"), "s3://b/a b.gguf: hf:<owner>"),
        (("pull", "https://h/a%20b.gguf"), "'a b' cannot be the name of a model; give another with --name"),
        (("pull", "near"), "http://127.0.0.1:1 cannot be reached"),
        (("verify", "near"), "near: there is no file of it here"),
        (("rm", "near", "--yes"), "near: there is no file of it here"),
    ],
)
def test_a_mistake_says_what_helps(project: Path, arguments: tuple[str, ...], text: str) -> None:
    """Exit code 1 and a sentence, no traceback."""
    assert text in refused(*arguments)


def test_offline_forbids_the_network_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of this machine may still be taken."""
    monkeypatch.setenv("GOLEK_OFFLINE", "1")
    assert "GOLEK_OFFLINE=1 forbids to download" in refused("pull", "near")
    assert "GOLEK_OFFLINE=1 forbids to download s3://b/m.gguf" in refused("pull", "s3://b/m.gguf")
    (project / "own.gguf").write_bytes(BYTES)
    said("pull", "./own.gguf", "--name", "mine")


def test_a_file_in_use_is_not_removed(project: Path) -> None:
    """Run files tell which worker has it; one that has ended does not count."""
    file = put(project, "near")
    (project / "envs").mkdir()
    (project / "envs" / "worker.near.env").write_text("MODEL_NAME=near\n")
    me = process.identify()
    state = RunState(worker_id="near-host-1", deployment="near", replica=1, pid=me.pid, created=me.created)
    runfile.write(project / "data", msgspec.structs.replace(state, state="online"))
    text = refused("rm", "near", "--yes")
    assert f"in use by near-host-1 (pid {os.getpid()}, online); stop it first: make stop WORKER=near" in text
    assert "near *" in said("list")
    assert file.exists()
    runfile.write(project / "data", msgspec.structs.replace(state, created=me.created - 100))
    said("rm", "near", "--yes")
    assert not file.exists()


def test_a_download_that_goes_on_is_not_removed_and_a_dead_one_is(hub: Hub, project: Path) -> None:
    """The lock of a living download holds rm off; what a killed one left counts as begun, and goes."""
    target = project / "data/models/near/model.gguf"
    hub.rate = 2e6
    child = subprocess.Popen(
        [sys.executable, "-m", "golek_worker.registry.download", SOURCE, str(target)], stdout=subprocess.DEVNULL
    )
    while not download.begun(target) or not download.begun(target)[0].stat().st_size:
        assert child.poll() is None
    assert "it is being downloaded" in refused("rm", "near", "--yes")
    child.kill()
    child.wait()
    assert rows()["near"]["state"] == "begun"
    said("rm", "near", "--yes")
    assert download.begun(target) == []


def test_a_file_put_there_by_hand_is_held_against_the_catalogue(hub: Hub, project: Path) -> None:
    """Or against the hub's word; without either its hash is told."""
    file = put(project, "near")
    assert origin.read(file) is None
    assert f"as {SOURCE} says" in said("verify", "near")
    (project / CATALOG).write_text(CATALOGUE.replace("size_bytes", f"sha256: {'a' * 64}, size_bytes"))
    assert f"but the catalogue says {'a' * 64}" in refused("verify", "near")
    put(project, "mine")
    assert "nobody says what it must be" in said("verify", "mine")


def test_a_name_that_nobody_knows_is_an_error(project: Path) -> None:
    """With the one that may have been meant; a made model that is there needs no source."""
    assert refused("show", "nearr").startswith("nearr: unknown here; did you mean near? known are cast, eyes, near")
    put(project, "cast")
    assert said("pull", "cast") == "data/models/cast/model.gguf is there already\n"
    assert "no source of it is known" in refused("pull", "cast", "--force")
    assert "no source of it is known" in refused("pull", "cast", "--sha256", "0" * 64)


def test_a_wrong_hash_of_a_file_here_names_who_gave_it(project: Path) -> None:
    """The file stays, its size is told, and nothing is left where the model would have lain."""
    (project / "own.gguf").write_bytes(BYTES)
    text = refused("pull", "./own.gguf", "--name", "mine", "--sha256", "0" * 64)
    assert f"{project}/own.gguf to data/models/mine/model.gguf, 4 MB" in text
    assert f"has sha256 {sha256(BYTES)}, but --sha256 says {'0' * 64}. It was left as it is" in text
    assert (project / "own.gguf").read_bytes() == BYTES
    assert not (project / "data/models/mine").exists()


SCRIPT = ROOT / "scripts" / "download_models.py"


def test_the_operators_list_is_fetched_by_the_same_code(hub: Hub, project: Path) -> None:
    """To a folder per model; what cannot be had is named at the end and does not stop the others."""
    command = [sys.executable, str(SCRIPT), "eyes", "near", "--dir", "zoo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == "eyes: nobody has named a file\nnot downloaded: eyes; run this again to go on\n"
    assert (project / "zoo" / "near" / "near.Q4_K_M.gguf").read_bytes() == BYTES
    again = subprocess.run([*command[:2], *command[3:]], capture_output=True, text=True, timeout=30, check=True)
    assert again.stdout == "zoo/near/near.Q4_K_M.gguf is there already\n"
    assert len(hub.gets()) == 1


def test_the_operators_list_is_whole() -> None:
    """Eight names, each in the shipped catalogue, with the files that the operator named."""
    command = [sys.executable, str(SCRIPT), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=ROOT).stdout
    known = entries.load(ROOT / CATALOG)
    places = {name: known[name].place for name in [line.split()[0] for line in listed.splitlines()]}
    assert {name: place.name for name, place in places.items() if place is not None} == {
        "llama-3.2-3b": "llama-3.2-3b-instruct-q4_k_m.gguf",
        "qwen2.5-7b": "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
        "deepseek-r1-7b": "DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf",
        "granite-8b-code-128k": "granite-8b-code-instruct-128k.Q4_K_M.gguf",
        "phi-4": "phi-4-Q4_K_S.gguf",
        "phi-3-medium-128k": "Phi-3-medium-128k-instruct-Q4_K_M.gguf",
        "gpt-oss-20b": "gpt-oss-20b-Q4_K_M.gguf",
        "granite-20b-code": "granite-20b-code-instruct.Q4_K_M.gguf",
    }
