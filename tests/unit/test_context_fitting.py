"""How what a step reads is made to fit its model's context: what is lent, what is compressed, and when it is an error.

Models are played: a token for each four characters, and a compressor that keeps a part of the text.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golek_wire.errors import (
    CompressionFailedError,
    ContextBudgetExceededError,
    JobCancelledError,
    ModelBusyError,
)
from golek_wire.requests import InferenceRequest, Message, Params
from golek_worker.orchestration.base import COMPRESSOR, Material, Member
from golek_worker.orchestration.budgets import by_rule
from golek_worker.orchestration.caches import Lru
from golek_worker.orchestration.compression import fit_to_budget, halves, ratio, target, task
from golek_worker.orchestration.context import Memory
from golek_worker.orchestration.counting import BYTES_PER_TOKEN, Counter
from golek_worker.orchestration.fitting import shares
from tests.support.orchestrating import (
    FAST,
    LARGE,
    PROMPTS,
    SMALL,
    Models,
    asked,
    case_of,
    context_of,
    generated,
    said,
    step_of,
    words_of,
)  # fmt: skip

TEXT = "The queue holds ten thousand jobs on disk. " * 40
"""1,720 characters, 430 tokens."""


def draft(times: int = 1) -> Material:
    return Material("Draft", TEXT * times, "other")


async def test_what_fits_by_its_bytes_is_not_even_counted() -> None:
    """No model is asked anything before the step itself."""
    models = Models()
    request, compressed = await context_of(case_of(asked(params=Params(max_tokens=99))), models).prepare(
        step_of("refine", LARGE, draft())
    )
    assert not compressed
    assert TEXT in (request.messages or [])[0].content  # type: ignore[operator]
    assert (models.counted, models.helped) == ([], [])


async def test_a_context_that_nobody_knows_limits_nothing() -> None:
    """Who runs the model has the last word."""
    models = Models()
    _, compressed = await context_of(case_of(asked()), models).prepare(step_of("refine", Member("?"), draft(99)))
    assert (compressed, models.counted) == (False, [])


async def test_room_that_others_do_not_use_is_lent() -> None:
    """A draft of 860 tokens has more than the 375 of its budget where question and system's words are short."""
    models = Models()
    request, compressed = await context_of(case_of(asked(params=Params(max_tokens=500))), models).prepare(
        step_of("refine", SMALL, draft(2))
    )
    assert words_of(request) < 2048 - 500
    assert not compressed
    assert models.counted
    assert not models.helped


async def test_a_draft_that_does_not_fit_is_compressed_before_the_call() -> None:
    """By the fast model of the cast, until the whole prompt and what shall be written are within the context."""
    models = Models(part=0.5)
    context = context_of(case_of(asked(params=Params(max_tokens=900))), models)
    request, compressed = await context.prepare(step_of("refine", SMALL, draft(3)))
    assert compressed
    assert words_of(request) + 900 <= 2048
    assert {(step.name, step.duty, step.member) for step, _ in models.helped} == {("compress", COMPRESSOR, FAST)}
    assert context.facts.compressed
    assert context.state.compressed_context
    assert context.state.compressed_context in (request.messages or [])[0].content  # type: ignore[operator]


async def test_the_compressor_is_told_what_to_keep_and_has_no_tools_of_the_callers() -> None:
    """The goal, a number of words, what to preserve and to drop; greedy, and with room for twice as much."""
    models = Models(part=0.2)
    tool = {"type": "function", "function": {"name": "f"}}
    context = context_of(case_of(asked(tools=[tool], params=Params(max_tokens=900, temperature=2.0))), models)
    await context.prepare(step_of("refine", SMALL, draft(3)))
    (_, request), *_more = models.helped
    text = (request.messages or [])[0].content or ""
    assert request.tools is None
    assert request.params.temperature == 0
    assert "Goal: What is NATS?" in text
    for words in ("Use at most", "decisions made", "constraints discovered", "open questions", "key evidence refs",
                  "error summaries", "raw reasoning chains", "stack traces"):  # fmt: skip
        assert words in text


async def test_several_answers_share_the_room() -> None:
    """A short one is left as it is; the long ones are compressed to equal parts."""
    models = Models(part=0.5)
    answers = [
        Material(f"Answer of {name}", text, name) for name, text in (("a", TEXT * 4), ("b", "12"), ("c", TEXT * 3))
    ]
    context = context_of(case_of(asked(params=Params(max_tokens=700))), models)
    request, compressed = await context.prepare(step_of("reconcile", SMALL, *answers))
    assert compressed
    assert words_of(request) + 700 <= 2048
    assert "## Answer of b\n12" in (request.messages or [])[0].content  # type: ignore[operator]


async def test_a_conversation_borrows_of_what_may_be_written() -> None:
    """Without a limit of the caller's a long question takes up to three quarters of the model's room to write."""
    models = Models()
    request, compressed = await context_of(case_of(asked(TEXT * 3)), models).prepare(generated(member=SMALL))
    assert not compressed
    assert 2048 - by_rule(2048).generation < words_of(request) <= 2048 - by_rule(2048).generation // 4


async def test_a_judgement_is_limited_to_what_is_left() -> None:
    """The limit is ours there, not the caller's."""
    models = Models()
    step = step_of("critique", SMALL, Material("Draft", "short"), duty="critic")
    request, _ = await context_of(case_of(asked(TEXT * 3 + "x" * 400)), models).prepare(step)
    assert request.params.max_tokens is not None
    assert words_of(request) + request.params.max_tokens <= 2048


async def test_the_longest_turn_is_compressed_where_the_conversation_does_not_fit() -> None:
    """The system's words and short turns stay as they are; that is told like any compression."""
    models = Models(part=0.2)
    turns = [Message("system", TEXT), Message("user", TEXT * 6), Message("assistant", "Yes."), Message("user", "So?")]
    request, compressed = await context_of(case_of(InferenceRequest(messages=turns)), models).prepare(
        generated(member=SMALL)
    )
    assert compressed
    assert words_of(request) <= 2048 - by_rule(2048).generation // 4
    kept = request.messages or []
    assert (kept[0], kept[2]) == (turns[0], turns[2])
    assert len(kept[1].content or "") < len(TEXT) * 6


async def test_what_cannot_fit_is_an_error_that_says_so() -> None:
    """In the words and with the details that are given for it."""
    turns = [Message("system", TEXT * 8), Message("user", "So?")]
    context = context_of(case_of(InferenceRequest(messages=turns)), Models())
    with pytest.raises(ContextBudgetExceededError) as caught:
        await context.prepare(generated(member=SMALL))
    error = caught.value
    assert error.message == f"Content cannot fit in small context window ({error.current_tokens}/2048 tokens)"
    assert error.details == {
        "current_tokens": error.current_tokens, "budget": 2048, "model": "small", "compression_attempted": True,
    }  # fmt: skip
    assert error.current_tokens > 2048


async def test_a_compressor_of_no_use_is_an_error_and_no_cut() -> None:
    """After three tries; the model whose context it was for is named."""
    models = Models(part=1.0)
    context = context_of(case_of(asked(params=Params(max_tokens=900))), models)
    with pytest.raises(CompressionFailedError, match="after 3 iterations") as caught:
        await context.prepare(step_of("refine", SMALL, draft(3)))
    assert caught.value.details["model"] == "small"
    limits = [request.params.max_tokens or 0 for _, request in models.helped]
    assert len(limits) == 3
    assert limits == sorted(set(limits), reverse=True)


async def test_what_the_compressor_fails_with_is_the_steps_error() -> None:
    """A passing one can be tried again by who asks the step."""
    context = context_of(case_of(asked(params=Params(max_tokens=900))), Models(error=ModelBusyError()))
    with pytest.raises(ModelBusyError):
        await context.prepare(step_of("refine", SMALL, draft(3)))


async def test_a_text_too_long_for_the_compressor_goes_in_pieces() -> None:
    """Each of them fits its context; together they are the whole text."""
    tiny = Member("fast", context_size=700)
    models = Models(part=0.05)
    case = case_of(asked(params=Params(max_tokens=900)), duties={COMPRESSOR: tiny})
    _, compressed = await context_of(case, models).prepare(step_of("refine", SMALL, draft(5)))
    assert compressed
    assert len(models.helped) > 1
    for _, request in models.helped:
        assert words_of(request) + (request.params.max_tokens or 0) <= 700
    assert "".join(step.reads[0].text for step, _ in models.helped[: len(models.helped)]).startswith(TEXT * 5)


async def test_without_a_compressor_in_the_cast_the_steps_own_model_does_it() -> None:
    """A cast of one can still shorten what it reads."""
    models = Models(part=0.3)
    case = case_of(asked(params=Params(max_tokens=900)), duties={})
    await context_of(case, models).prepare(step_of("refine", SMALL, draft(3)))
    assert {step.member for step, _ in models.helped} == {SMALL}


async def test_a_text_is_compressed_once_for_each_caller() -> None:
    """The same text again costs nothing, but another caller's is another one, and so is one for a single user."""
    memory = Memory(PROMPTS)
    models = Models(part=0.3)

    async def prepared(principal: str, **more: str) -> int:
        before = len(models.helped)
        case = case_of(asked(params=Params(max_tokens=900), **more))
        await context_of(case, models, memory=memory, principal=principal).prepare(step_of("refine", SMALL, draft(3)))
        return len(models.helped) - before

    assert [await prepared("ann"), await prepared("ann"), await prepared("bob")] == [1, 0, 1]
    assert [await prepared("ann", user="x"), await prepared("ann", user="x")] == [1, 1]
    memory.compressions.clear()
    assert await prepared("ann") == 1


async def test_a_text_without_an_end_is_none() -> None:
    """What the compressor had to break off at its limit is as good as nothing."""
    models = Models(part=0.3)

    async def broken_off(step: object, request: InferenceRequest) -> object:
        reply = await Models.help(models, step, request)  # type: ignore[arg-type]
        return said(generated(), reply.text, end="length").reply

    models.help = broken_off  # type: ignore[method-assign, assignment]
    with pytest.raises(CompressionFailedError):
        await context_of(case_of(asked(params=Params(max_tokens=900))), models).prepare(
            step_of("refine", SMALL, draft(3))
        )


async def test_a_template_is_learnt_from_what_was_read() -> None:
    """A model's first prompt may have to be counted because its template is unknown; the next of the kind is not."""
    models = Models()
    context = context_of(case_of(asked(params=Params(max_tokens=99))), models)
    step = step_of("refine", SMALL, Material("Draft", "short", "other"))
    await context.prepare(step)
    assert len(models.counted) == 1
    await context.hear(said(step, "Better.", tokens_in=120))
    again = step_of("refine", SMALL, Material("Draft", "shorter", "other"))
    await context.prepare(again)
    assert len(models.counted) == 1


# -- counting ----------------------------------------------------------------------------------------------------------


async def test_a_count_is_asked_once_for_each_file_of_a_model() -> None:
    """A model that was loaded anew from another file counts anew, and what the old one counted is gone."""
    digests = {"small": "a"}
    memory = Memory(PROMPTS, digest_of=lambda model: digests[model])
    models = Models()
    counter = Counter(models.count, memory.counts, memory.digest_of)
    assert [await counter.text(SMALL, TEXT) for _ in range(3)] == [430] * 3
    assert len(models.counted) == 1
    digests["small"] = "b"
    assert await counter.text(SMALL, TEXT) == 430
    assert len(models.counted) == 2
    assert memory.counts.size() == 1


async def test_where_nobody_can_count_the_bytes_are_taken_for_it() -> None:
    """A cloud, or a model that is busy: three bytes a token, and nothing is remembered. A cancel is no busy model."""
    errors: list[Exception | None] = [None, ModelBusyError(), JobCancelledError()]

    async def count(_model: str, _request: InferenceRequest) -> int | None:
        if (error := errors.pop(0)) is not None:
            raise error
        return None

    counter = Counter(count, Lru(), lambda _: "")
    for _ in range(2):
        assert await counter.text(SMALL, "x" * 300) == 300 // BYTES_PER_TOKEN
    with pytest.raises(JobCancelledError):
        await counter.text(SMALL, "x" * 300)


# -- the pure parts ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5000), max_size=8), st.integers(-10, 9000))
def test_shares_fill_the_room_and_never_more(sizes: list[int], room: int) -> None:
    """Nobody gets more than it needs; who gets less gets no less than any other."""
    found = shares(sizes, room)
    assert sum(found) <= max(0, room)
    assert all(share <= size for share, size in zip(found, sizes, strict=True))
    short = [share for share, size in zip(found, sizes, strict=True) if share < size]
    if short:
        assert min(short) >= max(found) - 1 or min(short) == min(found)
        assert sum(found) > room - len(sizes)


@given(st.text(min_size=2))
def test_two_halves_are_the_whole(text: str) -> None:
    """Nothing is lost, and each is shorter."""
    first, second = halves(text)
    assert first + second == text
    assert first
    assert second


def test_a_text_is_divided_where_it_hurts_least() -> None:
    """Between paragraphs rather than lines, sentences and words."""
    assert halves("One. Two three\n\nfour. Five six") == ("One. Two three\n\n", "four. Five six")
    assert halves("One two. Three four") == ("One two. ", "Three four")
    assert halves("x" * 8) == ("xxxx", "xxxx")


def test_the_margin_is_ten_percent() -> None:
    """Of the room, whatever the text has."""
    assert ratio(500, 1000) == pytest.approx(0.45)
    assert target(500, 1000) == 450
    assert target(1, 1000) == 1
    assert "at most 315 words" in task(450)


@settings(max_examples=200)
@given(st.text(max_size=300), st.integers(0, 60), st.lists(st.text(max_size=100), min_size=3, max_size=3))
async def test_a_fitted_text_is_within_its_budget_whatever_the_model_writes(
    text: str, budget: int, results: Sequence[str]
) -> None:
    """The text itself where it fits, one of the results where that fits, else an error; and each try is made of the
    shortest that there was.
    """
    pending, given_texts = list(results), list[str]()

    async def compress(content: str, _tokens: int) -> str:
        given_texts.append(content)
        return pending.pop(0)

    async def count(content: str) -> int:
        return len(content)

    shortest = min([text, *filter(None, map(str.strip, results))], key=len)
    if len(shortest) > budget:
        with pytest.raises(CompressionFailedError) as caught:
            await fit_to_budget(text, budget, count, compress)
        assert caught.value.details["current_tokens"] == len(shortest)
    else:
        found = await fit_to_budget(text, budget, count, compress)
        assert len(found) <= budget
        assert found == text or found in set(map(str.strip, results))
    assert [len(one) for one in given_texts] == sorted((len(one) for one in given_texts), reverse=True)
