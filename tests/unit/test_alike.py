"""Where do the vectors come from that say which questions are alike?"""

import asyncio
import subprocess
import sys

from golek_client.testing import FakeFleet
from golek_wire.requests import InferenceRequest, Params
from golek_worker.alike import Alike
from golek_worker.cache.base import Asked
from golek_worker.settings import Settings

MODEL = "all-minilm-l6-v2"


def asked(text: str, principal: str = "ann") -> Asked:
    return Asked(principal, "inference", "tiny", "d", InferenceRequest(input=text, params=Params(temperature=0)))


async def kept(alike: Alike, one: Asked, value: bytes) -> None:
    """Keep it, and wait until that is done."""
    alike.keep(one, value, 60)
    while alike.keeping:
        await asyncio.sleep(0)


async def test_a_question_is_found_by_vectors_of_the_fleet() -> None:
    """In the same words here, since the vectors of a fake fleet know no meaning; for its caller alone."""
    async with FakeFleet(embeds={MODEL: 32}) as fleet:
        alike = Alike(Settings(model_name="tiny"), fleet.client())
        question = asked("Why is lava hot?")
        assert await alike.look(question) is None
        assert fleet.embedded == []
        await kept(alike, question, b"an answer")
        assert await alike.look(question) == b"an answer"
        assert await alike.look(asked("Why is lava hot?", "bob")) is None
        assert [one.model for one in fleet.embedded] == [MODEL]
        assert [one.invalidate_by_model("tiny") for one in alike.held] == [1]
        assert await alike.look(question) is None
        await alike.close()


async def test_a_fleet_without_an_embedding_model_has_no_second_look() -> None:
    """Nothing is kept, nothing is found, and nothing is raised."""
    async with FakeFleet({"tiny": "hello"}) as fleet:
        alike = Alike(Settings(model_name="tiny"), fleet.client())
        await kept(alike, asked("Why is lava hot?"), b"an answer")
        assert [one.size() for one in alike.held] == [0]
        assert await alike.look(asked("Why is lava hot?")) is None
        await alike.close()


async def test_what_speaks_of_its_caller_is_not_kept() -> None:
    """Nor is a vector asked of it."""
    async with FakeFleet(embeds={MODEL: 32}) as fleet:
        alike = Alike(Settings(model_name="tiny"), fleet.client())
        await kept(alike, asked("What is my name?"), b"Ann")
        assert await alike.look(asked("What is my name?")) is None
        assert fleet.embedded == []
        await alike.close()


def test_a_worker_that_compares_nothing_imports_no_arrays() -> None:
    """They take memory and time, of every worker and router."""
    code = "import sys, golek_worker.worker; print([name for name in ('numpy', 'genai_prices') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
