"""What a worker's model does, and which subjects follow from that."""

from pathlib import Path

import pytest

from golek_program.settings import SettingsError
from golek_worker import kinds, settings
from golek_worker.gguf import GGUFError
from golek_worker.settings import Settings
from tests.support import minilm, reranker

TINY = Path(__file__).resolve().parents[2] / "data/models/golek-tiny/model.gguf"


def deployment(model: Path, name: str = "m.1", **given: str) -> Settings:
    return Settings(model_name=name, model_path=str(model), **given)  # type: ignore[arg-type]


def test_the_models_file_decides() -> None:
    """One that pools its tokens makes vectors, one with a classifier ranks, one that does neither writes; echo has no
    file.
    """
    assert kinds.find(deployment(minilm.model_file()), minilm.model_file()) == "embedding"
    assert kinds.find(deployment(TINY), TINY) == "inference"
    assert kinds.find(deployment(reranker.model_file()), reranker.model_file()) == "rerank"
    assert kinds.find(Settings(model_name="e", engine="echo"), None) == "inference"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """A worker that cannot tell what its model does says which file it read."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(GGUFError, match=r"broken\.gguf: GGUF version 0"):
        kinds.find(deployment(broken), broken)
    with pytest.raises(FileNotFoundError, match=r"missing\.gguf"):
        kinds.find(deployment(broken), tmp_path / "missing.gguf")


def test_requests_of_the_other_kinds_are_told_where_to_ask() -> None:
    """On the literal name and the token, for all kinds."""
    taken = kinds.taken(deployment(minilm.model_file()), "embedding")
    assert taken.subjects == ("embedding.request.m.1", "embedding.request.m_1")
    assert taken.submits == ("embedding.submit.m.1", "embedding.submit.m_1")
    requests, submits = taken.elsewhere[:6], taken.elsewhere[6:]
    assert requests == (
        "inference.request.m.1", "inference.request.m_1", "rerank.request.m.1", "rerank.request.m_1",
        "vision.request.m.1", "vision.request.m_1",
    )  # fmt: skip
    assert submits == tuple(subject.replace("request", "submit") for subject in requests)
    assert taken.redirect == "m.1 turns texts into vectors: ask it on embedding.request.m.1"
    requests_for_vectors = ("embedding.request.m.1", "embedding.request.m_1")
    assert kinds.taken(deployment(TINY), "inference").elsewhere[:2] == requests_for_vectors


def test_a_model_that_writes_takes_questions_about_images() -> None:
    """Whether it sees is known once it is loaded; a classifier takes nothing else."""
    writes, looks = kinds.taken(deployment(TINY), "inference"), kinds.taken(deployment(TINY), "vision")
    assert writes.subjects == (
        "inference.request.m.1", "inference.request.m_1", "vision.request.m.1", "vision.request.m_1",
    )  # fmt: skip
    assert "vision.submit.m.1" in writes.submits
    assert not any(subject.startswith("vision.") for subject in writes.elsewhere)
    assert looks.subjects == ("vision.request.m.1", "vision.request.m_1")
    assert "inference.request.m.1" in looks.elsewhere
    assert looks.redirect == "m.1 says what images show: ask it on vision.request.m.1"


def test_a_subject_of_its_own_is_the_only_one() -> None:
    """With SUBJECT a worker listens there and nowhere else."""
    taken = kinds.taken(deployment(TINY, subject="inference.request.a.b"), "inference")
    assert (taken.subjects, taken.elsewhere) == (("inference.request.a.b",), ())


@pytest.mark.parametrize(
    ("model", "subject", "says"),
    [
        (TINY, "embedding.request.x", "m.1 writes text, so its subject lies below inference.request."),
        (TINY, "inference.request.x", None),
        (None, "inference.request.x", "m.1 turns texts into vectors, so its subject lies below embedding.request."),
        (None, "embedding.request.x", None),
    ],
)
def test_a_subject_of_the_other_kind_is_a_mistake(model: Path | None, subject: str, says: str | None) -> None:
    """Named with what would have been right."""
    file = model or minilm.model_file()
    chosen = deployment(file, subject=subject)
    if says is None:
        assert kinds.taken(chosen, kinds.find(chosen, file)).subjects == (subject,)
        return
    with pytest.raises(SettingsError) as raised:
        kinds.find(chosen, file)
    assert raised.value.mistakes == [f"SUBJECT={subject}: {says}"]


def test_a_subject_of_no_family_is_a_mistake(tmp_path: Path) -> None:
    """Whatever the model is."""
    file = tmp_path / "worker.x.env"
    for subject in ("models.x", "inference.request.*", "embedding.request.", "rerank.request.*"):
        file.write_text(f"MODEL_NAME=x\nENGINE=echo\nSUBJECT={subject}\n")
        with pytest.raises(SettingsError, match="SUBJECT="):
            settings.load(file, {})
