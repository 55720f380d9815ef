"""Subjects, streams and ids."""

import pytest

from golek_wire import subjects


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("qwen3-4b", "qwen3-4b"),
        ("nomic-embed-v1.5", "nomic-embed-v1_5"),
        ("org/model:q4_K_M", "org_model_q4_K_M"),
        ("a@b+c", "a_b_c"),
    ],
)
def test_a_token_is_safe_for_one_subject_token(name: str, token: str) -> None:
    """Every character outside letters, digits, _ and - becomes _."""
    assert subjects.model_token(name) == token
    assert subjects.spellings(name) == ((name,) if name == token else (name, token))


@pytest.mark.parametrize("name", ["a", "qwen3-4b", "nomic-embed-v1.5", "org/model:q4", "a.b.c", "x" * 128])
def test_names_that_can_stand_in_a_subject(name: str) -> None:
    """Usual model names are taken as they are."""
    assert subjects.is_model_name(name)


@pytest.mark.parametrize("name", ["", " ", "a b", ".a", "a.", "a..b", "*", "a.*", ">", "a.>", "ä", "a\n", "x" * 129])
def test_names_that_cannot(name: str) -> None:
    """Blanks, wildcards and empty tokens would reach others' subjects or none."""
    assert not subjects.is_model_name(name)


def test_the_subjects_of_a_model() -> None:
    """The subjects that clients, operators and monitors have in their scripts."""
    assert subjects.request("qwen3-4b") == "inference.request.qwen3-4b"
    assert subjects.request("bge", "embedding") == "embedding.request.bge"
    assert subjects.job("t") == "inference.job.t.normal.any"
    assert subjects.job_stream("t") == "GOLEK_JOBS_t"
    assert subjects.job_stream_subjects("t") == [
        "inference.job.t.>", "embedding.job.t.>", "rerank.job.t.>", "vision.job.t.>",
    ]  # fmt: skip
    assert subjects.consumer("t") == "inference-t-normal"
    assert subjects.cancel("j") == "inference.cancel.j"
    assert subjects.health("m") == "models.m.health"
    assert subjects.heartbeat("t") == "models.t.heartbeat"
    assert subjects.load_report("t") == "monitoring.inference.t"
    assert subjects.dead_letter("t") == "golek.dlq.t"


def test_a_job_id_is_a_fixed_function_of_the_inbox() -> None:
    """Client and ingress compute the same 26 characters, and another inbox gives others."""
    assert subjects.job_id("_INBOX.abc.1") == "gnzmv3lrmpikcji6bcwx5hgsiq"
    assert subjects.job_id("_INBOX.abc.2") != subjects.job_id("_INBOX.abc.1")


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [("_INBOX.a.b", True), ("_R_.a", True), ("answers.me", False), ("_INBOX.*", False), ("_INBOX.>", False),
     ("_INBOX.a b", False), ("_INBOX.", False), ("$SYS.a", False)],
)  # fmt: skip
def test_answers_go_to_inboxes_only(subject: str, allowed: bool) -> None:
    """A worker publishes answers to plain subjects below the inbox prefixes."""
    assert subjects.is_reply_inbox(subject) is allowed


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [("answers.me", True), ("a", True), ("_INBOX.a", False), ("$JS.API.X", False), ("inference.request.m", False),
     ("models.m.load", False), ("golek.dlq.m", False), ("a.*", False), ("a..b", False), ("", False)],
)  # fmt: skip
def test_reply_to_stays_out_of_golek_s_own_subjects(subject: str, allowed: bool) -> None:
    """A payload cannot make a worker publish commands, requests or another caller's answer."""
    assert subjects.is_reply_to(subject) is allowed
