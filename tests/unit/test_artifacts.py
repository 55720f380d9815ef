"""Finding a model's file: the order of the places, and no guess where there are two."""

from pathlib import Path

import pytest

from golek_worker.registry import artifacts
from golek_worker.registry.artifacts import ArtifactError
from golek_worker.registry.catalog import Wanted
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.settings import Settings


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's folder of models, and a data folder `data` to be relative to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(artifacts, "SHARED_MODELS", tmp_path / "shared")
    return tmp_path / "shared"


def touch(path: Path | str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"GGUF")
    return Path(path)


def found(**values: str) -> Path | None:
    return artifacts.find(Settings(model_name="m", **values))


def test_places_are_tried_in_order(shared: Path) -> None:
    """From the last place to the first: each one that gets a file hides those behind it."""
    chosen = Settings(model_name="m", inference_models_dir="zoo")
    assert artifacts.find(chosen) is None
    for place in (shared / "m.gguf", "data/models/m/model.gguf", "zoo/m/any.Q8_0.gguf"):
        touch(place)
        assert artifacts.find(chosen) == Path(place)
    assert found(inference_models_dir="zoo", model_path="data/models/m/model.gguf") == Path("data/models/m/model.gguf")


def test_what_was_tried_is_told_in_order(shared: Path) -> None:
    """The places of the sentence for a model that is not there."""
    chosen = Settings(model_name="m", inference_models_dir="zoo")
    tried = ["zoo/m/*.gguf", "data/models/m/model.gguf", f"{shared}/m.gguf"]
    assert artifacts.places(chosen, guessed=False) == tried
    assert artifacts.places(chosen, guessed=True) == [*tried, f"{shared}/*.gguf"]


def test_a_model_that_ships_is_found_wherever_the_data_lies(tmp_path: Path) -> None:
    """It lies in the project's folder; one of the same name in GOLEK_DATA hides it."""
    shipped = touch("data/models/m/model.gguf")
    assert found(golek_data="far") == shipped
    own = touch("far/models/m/model.gguf")
    assert found(golek_data="far") == own


def test_the_only_file_of_a_shared_folder_is_a_last_resort(shared: Path) -> None:
    """Its name says nothing of the model: it is taken only where neither file nor source is known."""
    only = touch(shared / "somebody.gguf")
    assert found() is None
    assert resolve(Settings(model_name="m"), {}) == only
    assert isinstance(resolve(Settings(model_name="m", model_source="hf:a/b/c.gguf"), {}), Wanted)
    with pytest.raises(MissingModelError, match=r"MODEL_PATH=none\.gguf: no such file; no source"):
        resolve(Settings(model_name="m", model_path="none.gguf"), {})
    touch(shared / "else.gguf")
    assert isinstance(resolve(Settings(model_name="m", model_source="hf:a/b/c.gguf"), {}), Wanted)
    with pytest.raises(MissingModelError, match=r"2 models \(else.gguf, somebody.gguf\)"):
        resolve(Settings(model_name="m"), {})


def test_a_folder_that_may_not_be_looked_into(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a setting names is told; one of somebody else is passed by."""
    closed = (shared, Path("closed"))
    real = Path.is_file

    def is_file(path: Path) -> bool:  # root may look everywhere
        if path.parent in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert found() is None
    with pytest.raises(ArtifactError, match=r"closed/m\.gguf: this user may not look there"):
        found(model_path="closed/m.gguf")


def test_a_named_file_stands_alone(shared: Path) -> None:
    """A MODEL_PATH that is not the default place is not replaced by another file."""
    touch("data/models/m/model.gguf")
    touch(shared / "m.gguf")
    assert found(model_path="elsewhere/m.gguf") is None
    assert found(model_path=str(touch("elsewhere/m.gguf"))) == Path("elsewhere/m.gguf")


def test_a_folder_is_no_file() -> None:
    """It is named before anything is downloaded onto it."""
    Path("zoo").mkdir()
    with pytest.raises(ArtifactError, match="zoo: a folder; name the file in it with MODEL_PATH"):
        found(model_path="zoo")


def test_two_models_in_a_folder_are_named() -> None:
    """Nobody guesses which one is meant."""
    touch("zoo/m/a.gguf")
    touch("zoo/m/b.gguf")
    with pytest.raises(ArtifactError, match=r"zoo/m: 2 models \(a.gguf, b.gguf\); name the one .* with MODEL_PATH"):
        found(inference_models_dir="zoo")


def test_of_a_model_in_several_files_the_first_is_meant() -> None:
    """The engine finds the others beside it; a missing one is named."""
    first = touch("zoo/m/big-00001-of-00003.gguf")
    touch("zoo/m/big-00002-of-00003.gguf")
    with pytest.raises(ArtifactError, match=r"parts are missing beside it: big-00003-of-00003\.gguf"):
        found(inference_models_dir="zoo")
    touch("zoo/m/big-00003-of-00003.gguf")
    assert found(inference_models_dir="zoo") == first


def test_a_split_model_lies_where_one_file_would() -> None:
    """A downloaded split is found at the default place and at MODEL_PATH; another model's parts are not."""
    first = touch("data/models/m/model-00001-of-00002.gguf")
    touch("data/models/m/model-00002-of-00002.gguf")
    assert found() == first
    assert found(model_path="data/models/m/model.gguf") == first
    assert found(model_path="data/models/m/mod.gguf") is None


def test_half_a_download_is_no_model() -> None:
    """What a download leaves behind is neither found nor counted."""
    touch("zoo/m/.m.gguf.0123456789abcdef.part")
    touch("zoo/m/.m.gguf.lock")
    assert found(inference_models_dir="zoo") is None


@pytest.mark.parametrize("wrong", [{"model_source": "http://x"}, {"model_sha256": "zz"}])
def test_a_wrong_source_is_told_though_the_file_is_there(wrong: dict[str, str]) -> None:
    """Else it would come out on the day the file is missing."""
    chosen = Settings(model_name="golek-tiny", **wrong)  # type: ignore[arg-type]
    with pytest.raises(MissingModelError, match=next(iter(wrong)).upper()):
        resolve(chosen)
