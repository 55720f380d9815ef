"""A model that lies in a folder, downloaded from a repository of a hub on a real socket."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_worker.machine import modelfiles, pulling, showing
from golek_worker.machine.modelfiles import ModelError
from golek_worker.registry.catalog import Wanted
from golek_worker.registry.fetch import fetch
from golek_worker.registry.report import Downloaded, DownloadError
from golek_worker.registry.resolve import MissingModelError
from golek_worker.registry.source import RepoSource
from tests.support import folders
from tests.support.hub import COMMIT, Hub

ROOT = Path(__file__).resolve().parents[2]
PLACE = RepoSource("own/repo")
MODEL = folders.contents() | {"1_Pooling/config.json": b"{}"}
OTHERS = {"README.md": b"# about", "pytorch_model.bin": b"x" * 999, "onnx/model.onnx": b"x", "m-Q4_K_M.gguf": b"x"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository; its small files lie in git, as they do in the real one."""
    for key in ("HF_TOKEN", "HF_HUB_OFFLINE", "GOLEK_OFFLINE", "GOLEK_DATA"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    with Hub({f"own/repo/{name}": content for name, content in (MODEL | OTHERS).items()}) as running:
        running.in_git = {name for name in running.files if not name.endswith(".safetensors")}
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        yield running


async def fetched(target: Path) -> Downloaded:
    return await fetch(Wanted(PLACE), target, lambda _: None)


def there(target: Path) -> dict[str, bytes]:
    """What is in the folder, without what is hidden."""
    files = (file for file in target.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(target).as_posix(): file.read_bytes() for file in files}


async def test_all_files_of_the_model_come_and_no_other(hub: Hub, tmp_path: Path) -> None:
    """As they are at one commit; each is held against the hash that the hub has of it."""
    done = await fetched(tmp_path / "m")
    assert there(tmp_path / "m") == MODEL
    assert (done.path, done.size) == (str(tmp_path / "m"), sum(map(len, MODEL.values())))
    assert done.checked == "5 files by the hub's hash, 2 files by sha256"
    asked = {one.path for one in hub.asked if "/resolve/" in one.path and one.method == "GET"}
    assert {path.split("/")[4] for path in asked} == {COMMIT}
    again = await fetched(tmp_path / "m")
    assert (again.fetched, again.size) == (0, done.size)


async def test_a_folder_is_no_model_before_all_of_it_is_there(hub: Hub, tmp_path: Path) -> None:
    """A file that is damaged on its way is told and deleted, by either hash; the next download fetches it anew."""
    hub.corrupt = True
    with pytest.raises(DownloadError, match=r"config\.json@\w+: what came is another file \(\w+\) than the hub has"):
        await fetched(tmp_path / "m")
    hub.in_git.clear()
    with pytest.raises(DownloadError, match=r"config\.json@\w+: what came has sha256 \w+, but its source says"):
        await fetched(tmp_path / "m")
    assert there(tmp_path / "m") == {}
    hub.corrupt = False
    await fetched(tmp_path / "m")
    assert there(tmp_path / "m") == MODEL


async def test_it_goes_on_where_another_process_ended(hub: Hub, tmp_path: Path) -> None:
    """What is there of a file is not fetched again."""
    hub.cut_after = [len(MODEL["model-1.safetensors"]) // 2]
    done = await fetched(tmp_path / "m")
    assert there(tmp_path / "m") == MODEL
    assert done.fetched == done.size


@pytest.mark.parametrize("lacks", ["config.json", "model-1.safetensors"])
async def test_a_repository_without_such_a_model_is_told(hub: Hub, tmp_path: Path, lacks: str) -> None:
    """With what it has instead, and nothing is fetched."""
    hub.files = {name: content for name, content in hub.files.items() if not name.endswith((lacks, ".safetensors"))}
    with pytest.raises(DownloadError) as caught:
        await fetched(tmp_path / "m")
    assert "hf:own/repo: no model in a folder, which is config.json with weights in .safetensors" in str(caught.value)
    assert "it has m-Q4_K_M.gguf" in str(caught.value)
    assert "a GGUF file is named as hf:own/repo/<file>.gguf" in str(caught.value)
    assert not (tmp_path / "m").exists()


async def test_pull_show_verify_and_remove(hub: Hub, tmp_path: Path) -> None:
    """The commands that know files know folders."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "worker.big.env").write_text("MODEL_NAME=big\nENGINE=vllm\nMODEL_SOURCE=hf:own/repo\n")
    lines: list[str] = []
    target = await pulling.pull("big", say=lines.append)
    assert target == Path("data/models/big")
    assert "verified: 5 files by the hub's hash, 2 files by sha256" in lines[-1]
    found = modelfiles.find("big")
    row = modelfiles.describe(found)
    assert (row.state, row.kind, row.engine, row.where) == ("present", "embedding", "vllm", "data/models/big")
    assert showing.facts(found)["file_says"]["context_length"] == 512
    assert len(modelfiles.verify(found, lambda *_: None)) == len(MODEL)
    (target / "tokenizer.json").write_bytes(b'{"version": "9.9"}')
    with pytest.raises(ModelError, match=r"tokenizer\.json: sha256 .*, but its download from hf:own/repo"):
        modelfiles.verify(found, lambda *_: None)
    assert modelfiles.remove(modelfiles.find("big")) > 0
    assert not target.exists()


async def test_offline_a_missing_folder_is_an_error(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for files; the hub is not asked."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "worker.big.env").write_text("MODEL_NAME=big\nENGINE=vllm\nMODEL_SOURCE=hf:own/repo\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingModelError) as caught:
        await pulling.pull("big", say=lambda _: None)
    assert "MODEL_PATH=data/models/big: no such folder" in str(caught.value)
    assert "HF_HUB_OFFLINE=1 forbids to download hf:own/repo" in str(caught.value)
    assert hub.asked == []
    assert "HF_ENDPOINT" in os.environ
