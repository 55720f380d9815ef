"""What a worker tells of its settings to who asks."""

import msgspec

from golek_client.micro import WorkerInfo
from golek_worker.bus.endpoints import SETTINGS_BYTES, said_of
from golek_worker.settings import Settings, explain


def info(settings: dict[str, str]) -> WorkerInfo:
    return WorkerInfo("i", metadata={"worker_id": "w"} | said_of(settings))


def test_only_what_differs_from_its_default_is_told() -> None:
    """As it would be written in an env file; paths as they are."""
    chosen = Settings(model_name="tiny", drain_s=7.0, model_path="/models/tiny.gguf", golek_offline=True)
    assert explain.differing(chosen) == {
        "MODEL_NAME": "tiny", "DRAIN_S": "7", "MODEL_PATH": "/models/tiny.gguf", "GOLEK_OFFLINE": "true",
    }  # fmt: skip


def test_secrets_are_not_told() -> None:
    """Neither those that are secrets as a whole nor those within addresses."""
    chosen = Settings(
        model_name="tiny", nats_password="word-1", nats_token="word-2", nats_url="nats://me:word-3@host:4222",
        model_source="https://me:word-4@host/f?sig=word-5", golek_session_store="redis://:word-6@host/0",
    )  # fmt: skip
    told = explain.differing(chosen)
    assert "word-" not in str(told)
    assert (told["NATS_PASSWORD"], told["NATS_URL"]) == ("(secret)", "nats://host:4222")


def test_what_is_too_long_is_left_out_and_named() -> None:
    """The longest first: all workers of a fleet may answer one question."""
    given = {"A": "x" * 5000, "B": "y" * 3000, "C": "z" * 3000, "D": "1", "E": "é" * 100}
    said = info(given)
    assert set(said.settings) == {"D", "E", "C"}
    assert said.settings_left_out == ["A", "B"]
    assert len(msgspec.json.encode(said.settings)) <= SETTINGS_BYTES
    assert info({"D": "1"}).settings_left_out == []
    assert WorkerInfo("i").settings == WorkerInfo("i", metadata={"settings": "no JSON"}).settings == {}
