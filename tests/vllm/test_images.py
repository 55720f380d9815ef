"""vLLM sees: real nats-server, real worker, a small model with eyes."""

from collections.abc import Iterator
from typing import Any

import pytest

from golek_client import Golek, image
from golek_wire.errors import BadRequestError, ContextBudgetExceededError
from golek_wire.replies import InferenceReply
from tests.support.broker import NatsServer
from tests.support.pictures import BLUE, GREEN, RED, bmp, png
from tests.support.workers import WorkerProcess
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]
TOKENS = 7
"""Of one image: four, and what the model wants around them."""
ASKED: dict[str, Any] = {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True, "logprobs": True}
MOST = 3


@pytest.fixture(scope="module")
def url(module_broker: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the broker at which a worker with eyes serves."""
    data = tmp_path_factory.mktemp("data")
    chosen = place.settings(place.SEEING) | {"VISION_MAX_IMAGES": MOST}
    worker = WorkerProcess(module_broker.url, data, place.SEEING, **chosen)
    worker.start(wait=False)
    try:
        worker.wait_for("online", place.LOAD_S)
        yield module_broker.url
    finally:
        worker.end()


def turn(*parts: str | bytes) -> list[dict[str, Any]]:
    """A question of texts and image files."""
    shown = [{"type": "text", "text": part} if isinstance(part, str) else image(part) for part in parts]
    return [{"role": "user", "content": "", "parts": shown}]


async def ask(golek: Golek, *parts: str | bytes, **more: Any) -> InferenceReply:
    return await golek.chat(place.SEEING, turn(*parts), **(ASKED | more))


def likelihoods(reply: InferenceReply) -> list[float]:
    assert reply.logprobs is not None
    return [one.logprob for one in reply.logprobs]


async def test_it_says_that_it_sees(url: str) -> None:
    """To whoever asks for its health."""
    async with Golek(url) as golek:
        health = await golek.health(place.SEEING)
        assert "vision" in health.capabilities
        assert health.model_info.modalities == ["text", "image"]


async def test_equal_images_are_equal_and_others_are_not(url: str) -> None:
    """Whatever file they come in; their tokens are counted."""
    async with Golek(url) as golek:
        without = await ask(golek, "What is ", "?")
        red = await ask(golek, "What is ", png(RED), "?")
        again = await ask(golek, "What is ", png(RED), "?")
        other_file = await ask(golek, "What is ", bmp(RED), "?")
        blue = await ask(golek, "What is ", png(BLUE), "?")
    assert likelihoods(red) == likelihoods(again) == likelihoods(other_file)
    assert likelihoods(blue) != likelihoods(red) != likelihoods(without)
    assert red.tokens_in == blue.tokens_in


async def test_each_image_stands_where_it_was_sent(url: str) -> None:
    """With text between them, and with more turns; the tokens of each are in the count."""
    async with Golek(url) as golek:
        one = await ask(golek, "This is ", png(RED), " and that is it.")
        both = await ask(golek, "This is ", png(RED), " and that is ", png(GREEN), "it.")
        swapped = await ask(golek, "This is ", png(GREEN), " and that is ", png(RED), "it.")
        three = await ask(golek, "This is ", png(RED), png(RED), " and that is ", png(GREEN), "it.")
    assert likelihoods(both) != likelihoods(swapped)
    assert both.tokens_in == swapped.tokens_in == three.tokens_in - TOKENS
    assert both.tokens_in > one.tokens_in


async def test_a_prompt_with_images_is_found_in_the_cache(url: str) -> None:
    """By whole blocks, with another image from the image on."""
    text = "The queue is long, and the caller waits for an answer. " * 3
    async with Golek(url) as golek:
        await ask(golek, png(RED), text)
        again = await ask(golek, png(RED), text)
        other = await ask(golek, png(GREEN), text)
    assert again.tokens_cached == (again.tokens_in - 1) // place.BLOCK * place.BLOCK > place.BLOCK
    assert other.tokens_cached == 0


async def test_a_text_that_spells_a_placeholder_is_text(url: str) -> None:
    """The image goes to its own place all the same."""
    async with Golek(url) as golek:
        spelled = await ask(golek, "Is <image> or <__media__> here:", png(RED))
        other = await ask(golek, "Is <image> or <__media__> here:", png(BLUE))
        text = await ask(golek, "Is <image> or <__media__> here:")
        assert likelihoods(spelled) != likelihoods(other)
        assert spelled.tokens_in == text.tokens_in + TOKENS


async def test_what_cannot_be_read_is_refused_by_its_number(url: str) -> None:
    """Nobody else notices, and the next one is answered."""
    broken = png(RED, 64, 64)
    async with Golek(url) as golek:
        whole = await ask(golek, png(RED), "?")
        with pytest.raises(BadRequestError, match="Image 2 of 2 cannot be read as an image"):
            await ask(golek, png(RED), "and", broken[: len(broken) - 30], "?")
        with pytest.raises(BadRequestError, match="VISION_MAX_IMAGES"):
            await ask(golek, *[png(RED)] * (MOST + 1))
        with pytest.raises(ContextBudgetExceededError, match=rf"\({TOKENS} of images\)"):
            await ask(golek, png(RED), "?", max_tokens=1024)
        assert likelihoods(await ask(golek, png(RED), "?")) == likelihoods(whole)


async def test_a_broken_off_text_about_an_image_is_gone_on_with(url: str) -> None:
    """As with text alone."""
    async with Golek(url) as golek:
        whole = await ask(golek, png(RED), "What is this?", max_tokens=24, logprobs=False)
        for at in range(8, 16):
            resume = {"text": whole.text[:at]}
            again = await ask(golek, png(RED), "What is this?", max_tokens=24, logprobs=False, resume=resume)
            assert again.text.startswith(whole.text[:at])


async def test_labels_have_shares(url: str) -> None:
    """Of each image by itself: `vision.request.<model>`, as with any model that sees."""
    async with Golek(url) as golek:
        reply = await golek.classify(place.SEEING, [png(RED), png(BLUE), png(RED)], labels=["cat", "dog", "a river"])
        said = await golek.classify(place.SEEING, png(GREEN))
    first, second, third = ({one.label: one.score for one in result.scores} for result in reply.results)
    assert set(first) == {"cat", "dog", "a river"}
    assert sum(first.values()) == pytest.approx(1.0)
    assert first == pytest.approx(third)
    assert first != pytest.approx(second)
    assert reply.usage.prompt_tokens > 9 * TOKENS
    assert 0 < said.results[0].score <= 1
