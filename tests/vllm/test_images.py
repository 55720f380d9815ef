"""vLLM sees: a tiny model with eyes, in its own environment."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from golek_worker.engine.base import EngineConfig, Finished, Refused
from golek_worker.image_marks import IMAGE_MARK
from tests.engines.subject import Served, Subject
from tests.support.pictures import BLUE, RED, png
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
PROMPT = f"<|im_start|>user\nWhat is {IMAGE_MARK} here?<|im_end|>\n<|im_start|>assistant\n"


@contextmanager
def opened() -> Iterator[EngineConfig]:
    yield place.config(place.SEEING)


SUBJECTS = [Subject("vllm-eyes", frozenset({"text"}), opened, load_s=place.LOAD_S)]


async def shown(served: Served, *images: bytes, prompt: str = PROMPT, cuts: list[int] | None = None) -> Finished:
    command = structs.replace(served.text(prompt, tokens=12), images=list(images), cuts=cuts or [])
    return await served.written(command)


async def test_an_image_is_read_where_its_mark_stands(served: Served) -> None:
    """It decides on the answer, the same each time, and its tokens count."""
    assert "vision" in served.ready.capabilities
    assert served.ready.info.modalities == ["text", "image"]
    red, blue, again = [await shown(served, png(colour)) for colour in (RED, BLUE, RED)]
    assert red.text == again.text
    assert red.text != blue.text
    without = await shown(served, prompt=PROMPT.replace(IMAGE_MARK, ""))
    assert red.tokens_in >= without.tokens_in + 4
    both = await shown(served, png(RED), png(BLUE), prompt=PROMPT.replace("here", f"and {IMAGE_MARK}"))
    assert both.tokens_in >= red.tokens_in + 4


async def test_what_a_caller_spells_is_text(served: Served) -> None:
    """A mark with a cut in it, and the words that this model has for an image."""
    text = f"{IMAGE_MARK} <image> {PROMPT}"
    cuts = [1, len(IMAGE_MARK) + 2]
    assert (await shown(served, png(RED), prompt=text, cuts=cuts)).tokens_out > 0


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([png(RED)[:45]], "Image 1: its 45 bytes cannot be read"),
        ([b"%!PS-Adobe-3.0 EPSF-3.0"], "Image 1: its 23 bytes cannot be read"),
        ([png(RED), png(RED)], "2 images came with a prompt that has a place for 1"),
    ],
)
async def test_what_is_no_image_is_refused(served: Served, images: list[bytes], says: str) -> None:
    """And the next one is read."""
    command = structs.replace(served.text(PROMPT, tokens=4), images=images)
    assert says in (await served.done(command, Refused)).message
    assert (await shown(served, png(RED))).tokens_out > 0
