"""What of an answer is handed out that is more than text."""

import random
from typing import Any

import msgspec
import pytest

from golek_client.assembly import TextAssembly
from golek_wire.errors import StreamInterruptedError
from golek_wire.replies import (
    Choice,
    Delta,
    FunctionCall,
    InferenceReply,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)


def thought(text: str) -> Delta:
    return Delta(reasoning_content=text)


def call(arguments: str, call_id: str = "", name: str = "", index: int = 0) -> Delta:
    return Delta(tool_calls=[ToolCallDelta(index, call_id, name, arguments)])


def token(text: str, logprob: float = -1.0) -> TokenLogprob:
    return TokenLogprob(text, logprob, list(text.encode()), [])


def reply(text: str = "", **more: Any) -> InferenceReply:
    return InferenceReply("r", text, 1, 1, "stop", 1, 1, **more)


def test_a_second_attempt_is_compared_in_all_its_parts() -> None:
    """What is repeated is swallowed, thoughts, calls and log-probabilities as well as text."""
    assembly = TextAssembly()
    first = Delta("Hi", "Hm", [ToolCallDelta(0, "c0", "look", '{"a')], [token("Hi")])
    assert assembly.chunk(1, 0, first) == first
    again = Delta("Hi!", "Hm.", [ToolCallDelta(0, "c0", "look", '{"a": 1')], [token("Hi", -1.1), token("!")])
    assert assembly.chunk(2, 0, again) == Delta("!", ".", [ToolCallDelta(0, arguments='": 1')], [token("!")])
    final = reply(
        "Hi!!",
        reasoning_content="Hm. So",
        tool_calls=[ToolCall("c0", FunctionCall("look", '{"a": 1}')), ToolCall("c1", FunctionCall("go", "{}"))],
        logprobs=[token("Hi"), token("!"), token("!")],
    )
    assert assembly.finish_reply(final) == [
        Delta("!", " So", [ToolCallDelta(0, arguments="}"), ToolCallDelta(1, "c1", "go", "{}")], [token("!")])
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (thought("Hm"), thought("Ha")),
        (call("{}", "c0", "look"), call("{}", "c0", "go")),
        (call("{}", "c0", "look"), call("[]", "c0", "look")),
        (Delta(logprobs=[token("a")]), Delta(logprobs=[token("b")])),
        (Delta("a", index=1), Delta("b", index=1)),
    ],
    ids=["thoughts", "name", "arguments", "tokens", "second text"],
)
def test_a_second_attempt_that_differs_interrupts(first: Delta, second: Delta) -> None:
    """What was handed out cannot be taken back."""
    assembly = TextAssembly()
    assembly.chunk(1, 0, first)
    assert assembly.grew
    with pytest.raises(StreamInterruptedError) as raised:
        assembly.chunk(2, 0, second)
    assert raised.value.details["text_so_far"] == ""


@pytest.mark.parametrize(
    "final",
    [reply(), reply(reasoning_content="Ha"), reply(reasoning_content="Hm", tool_calls=[])],
    ids=["no thoughts", "other thoughts", "no call"],
)
def test_a_final_answer_that_differs_interrupts(final: InferenceReply) -> None:
    """It must have all that was handed out."""
    assembly = TextAssembly()
    assembly.chunk(1, 0, thought("Hm"))
    assembly.chunk(1, 1, call("", "c0", "look"))
    with pytest.raises(StreamInterruptedError):
        assembly.finish_reply(final)


@pytest.mark.parametrize(
    ("piece", "obstacle"),
    [
        (thought("Hm"), "thinking"),
        (Delta("Hi", "Hm"), None),
        (call("", "c0", "look"), "calls"),
        (Delta("Hi", logprobs=[token("Hi")]), "log-probabilities"),
        (Delta("Hi", index=1), "several"),
    ],
)
def test_what_stands_in_the_way_of_another_job(piece: Delta, obstacle: str | None) -> None:
    """Text alone can be gone on with, also where thoughts came before it."""
    assembly = TextAssembly()
    assembly.chunk(1, 0, piece)
    if obstacle is None:
        assert assembly.obstacle is None
    else:
        assert obstacle in (assembly.obstacle or "")


def test_thoughts_are_handed_out_once() -> None:
    """A job that goes on behind a text may think again before it: the caller has the thoughts already."""
    assembly = TextAssembly("so ", "hm", replay=False)
    assert assembly.chunk(1, 0, thought("hm")) == ""
    assert assembly.chunk(1, 1, Delta("it ", "and so")) == "it "
    assert assembly.finish_reply(reply("so it is", reasoning_content="hm and so on")) == ["is"]
    assert (assembly.reasoning, assembly.obstacle) == ("hm", None)


@pytest.mark.parametrize("seed", range(4))
def test_choices_joined_equal_the_final_answer_whatever_happens(seed: int) -> None:
    """Under restarts, losses, repeats and delay, each choice's parts joined are those of the final message."""
    chance = random.Random(seed)
    for _ in range(100):
        choices = [_choice(index, chance) for index in range(chance.randint(1, 3))]
        written = _written(choices, chance)
        messages = [
            (attempt, seq, delta)
            for attempt in range(1, chance.randint(2, 4))
            for seq, delta in enumerate(written[: chance.randint(0, len(written))])
            if chance.random() < 0.9
        ]
        assembly = TextAssembly()
        got = [assembly.chunk(*message) for message in messages]
        got += assembly.finish_reply(reply(choices[0].text, choices=choices))
        assert _gathered(got, len(choices)) == choices


def _choice(index: int, chance: random.Random) -> Choice:
    text, thoughts, arguments = ("".join(chance.choices("ab é", k=chance.randint(0, 8))) for _ in range(3))
    calls = [ToolCall(f"c{i}", FunctionCall(f"t{i}", arguments)) for i in range(chance.randint(0, 2))]
    return Choice(index, text, "stop", 1, thoughts or None, calls or None, [token(c) for c in text] or None)


def _written(choices: list[Choice], chance: random.Random) -> list[str | Delta]:
    """The pieces of one attempt: each choice in its order, the choices mixed."""
    queues = [[_delta(piece, c.index) for piece in _pieces(c)] for c in choices]
    mixed: list[str | Delta] = []
    while any(queues):
        mixed.append(chance.choice([queue for queue in queues if queue]).pop(0))
    return mixed


def _pieces(choice: Choice) -> list[Delta]:
    pieces = [thought(c) for c in choice.reasoning_content or ""]
    pieces += [Delta(c, logprobs=[token(c)]) for c in choice.text]
    for i, made in enumerate(choice.tool_calls or ()):
        pieces.append(call("", made.id, made.function.name, i))
        pieces += [call(c, index=i) for c in made.function.arguments]
    return pieces


def _delta(piece: Delta, index: int) -> Delta:
    return msgspec.structs.replace(piece, index=index)


def _gathered(pieces: list[str | Delta], count: int) -> list[Choice]:
    """The choices that `pieces` make."""
    texts, thoughts = [""] * count, [""] * count
    calls: list[list[list[str]]] = [[] for _ in range(count)]
    tokens: list[list[TokenLogprob]] = [[] for _ in range(count)]
    for piece in pieces:
        delta = Delta(piece) if isinstance(piece, str) else piece
        texts[delta.index] += delta.text
        thoughts[delta.index] += delta.reasoning_content
        tokens[delta.index] += delta.logprobs or []
        for made in delta.tool_calls or ():
            if made.index == len(calls[delta.index]):
                calls[delta.index].append([made.id, made.name, ""])
            calls[delta.index][made.index][2] += made.arguments
    return [
        Choice(
            i, texts[i], "stop", 1, thoughts[i] or None,
            [ToolCall(made[0], FunctionCall(*made[1:])) for made in calls[i]] or None,
            tokens[i] or None,
        )
        for i in range(count)
    ]  # fmt: skip
