"""LiteRT over the bus: a real nats-server, real workers, and the client that people use."""

from pathlib import Path

import numpy as np
import pytest

from golek_client import BadRequestError, ContextBudgetExceededError, Golek, terminal
from scripts import litert_models
from tests.litert.test_embedding import wanted
from tests.support.images import image
from tests.support.workers import WorkerProcess


async def test_a_fleet_embeds_and_classifies(nats_server: str, tmp_path: Path) -> None:
    """Two deployments find `model.tflite` where a model lies by default; one is asked for vectors, the other by images,
    by the kind that their files are of.
    """
    data = tmp_path / "data"
    litert_models.letters(data / "models/letters/model.tflite")
    litert_models.colours(data / "models/colours/model.tflite")
    texts = ["a lease", "snow"]
    with (
        WorkerProcess(nats_server, data, "echo", MODEL_NAME="letters", ENGINE="litert"),
        WorkerProcess(nats_server, data, "echo", MODEL_NAME="colours", ENGINE="litert"),
    ):
        async with Golek(nats_server) as golek:
            vectors = [one.embedding for one in (await golek.embed("letters", texts)).data]
            assert np.abs(np.array(vectors) - wanted(texts)).max() < 1e-5
            reply = await golek.classify("colours", [image("red"), image("blue", (64, 64), "JPEG")])
            assert [result.label for result in reply.results] == ["red", "blue"]
            assert reply.results[0].score == pytest.approx(1.0, abs=0.01)
            with pytest.raises(ContextBudgetExceededError, match=r"input\[0\] has 200 tokens"):
                await golek.embed("letters", ["x" * 200])
            with pytest.raises(BadRequestError, match="image"):
                await golek.classify("colours", b"no image")
            kinds = {model.name: model.kinds for model in await golek.models()}
            health = await golek.health("colours")
            with pytest.raises(BadRequestError, match=r"vision\.request\.colours") as refused:
                await golek.ask("colours", "hello")
            assert terminal.hint(refused.value, None, "colours") == "`golek classify colours IMAGE` asks it"
    assert kinds == {"letters": ["embedding"], "colours": ["vision"]}
    assert (health.engine, health.capabilities) == ("litert", ["image-classification"])
