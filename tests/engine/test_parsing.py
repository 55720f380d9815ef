"""What is read of an answer: recorded outputs of each format, however they are cut."""

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire.replies import Delta
from golek_worker.engine import parsing
from golek_worker.engine.base import Tokens, frame
from golek_worker.engine.parsing.calls import DEEPSEEK_BEGIN, DEEPSEEK_END, SEP
from golek_worker.engine.parsing.reader import AnswerReader
from golek_worker.output import Output

FILES = sorted((Path(__file__).parent / "golden/parsing").glob("*.json"))
CORPUS = {file.stem: json.loads(file.read_text("utf-8")) for file in FILES}
OUTPUTS = {name: msgspec.convert(file["output"], Output) for name, file in CORPUS.items()}
CASES = [(name, case) for name, file in CORPUS.items() for case in file["cases"]]
MARKS = {
    "<think>", "</think>", "[THINK]", "[/THINK]", "<tool_call>", "</tool_call>", "<|tool_call|>", "<|/tool_call|>",
    "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", SEP, *DEEPSEEK_BEGIN, *DEEPSEEK_END, "<|start|>",
    "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>",
}  # fmt: skip
Read = tuple[str, str, list[list[str]]]
"""Text, thoughts, calls."""


def reader(name: str, stops: tuple[str, ...] = (), resumed: str | None = None) -> AnswerReader:
    made = parsing.writer(OUTPUTS[name], "job", stops, resumed)
    assert isinstance(made, AnswerReader)
    return made


def streamed(made: AnswerReader, pieces: list[str]) -> Read:
    """What the pieces say, joined; it must be what the reader says of the whole."""
    text, thoughts = "", ""
    calls: list[list[str]] = []
    for said in [*map(made.write, pieces), made.end()]:
        delta = Delta(said) if isinstance(said, str) else said
        text += delta.text
        thoughts += delta.reasoning_content
        for call in delta.tool_calls or ():
            if call.index == len(calls):
                assert call.id.startswith("call_") or len(call.id) == 9
                calls.append([call.name, ""])
            else:
                assert (call.id, call.name) == ("", "")
            calls[call.index][1] += call.arguments
    whole = [[call.function.name, call.function.arguments] for call in made.tool_calls or ()]
    assert (text, thoughts, calls) == (made.text, made.reasoning_content or "", whole)
    return text, thoughts, calls


def expected(case: dict[str, Any]) -> Read:
    return case["says"], case["thinks"] or "", case["calls"]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_each_output_is_read_the_same_however_it_is_cut(name: str, case: dict[str, Any]) -> None:
    """Whole, character by character, and cut in two at every place; streamed as not streamed."""
    text = case["text"]
    cuts = [[text], list(text), *([text[:at], text[at:]] for at in range(1, len(text)))]
    for pieces in cuts:
        assert streamed(reader(name), pieces) == expected(case), pieces


@pytest.mark.parametrize("name", CORPUS)
@given(data=st.data())
def test_whatever_is_written_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    """Parts of recorded outputs in any order, cut anywhere."""
    parts = sorted({part for case in CORPUS[name]["cases"] for part in _parts(case["text"])})
    text = "".join(data.draw(st.lists(st.sampled_from([*parts, "{", "}", '"', "\n", "<", "["]), max_size=12)))
    at = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in pairwise([0, *at, len(text)])]
    assert streamed(reader(name), pieces) == streamed(reader(name), [text])


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_marks_count_as_tokens_too(name: str, case: dict[str, Any]) -> None:
    """What a tokenizer has as one token, hidden in texts or not, means what its spelling means."""
    for hidden in (True, False):
        made = reader(name)
        for part in _parts(case["text"]):
            special = part in MARKS
            if special and hidden and name == "plain":
                continue
            tokens = [part.encode()] if special else [bytes([byte]) for byte in part.encode()]
            for token in tokens:
                made.write_token(token, special=special, hidden=special and hidden)
        made.end()
        calls = [[call.function.name, call.function.arguments] for call in made.tool_calls or ()]
        found = (made.text, made.reasoning_content or "", calls)
        if not hidden or not _shows_marks(case):
            assert found == expected(case)


def _shows_marks(case: dict[str, Any]) -> bool:
    """True where a mark is a part of what is said: as a hidden token it would write nothing."""
    return any(mark in case["says"] + (case["thinks"] or "") + str(case["calls"]) for mark in MARKS)


def _parts(text: str) -> list[str]:
    """`text` cut at marks."""
    parts, plain = [], ""
    while text:
        mark = next((mark for mark in MARKS if text.startswith(mark)), None)
        if mark is None:
            plain, text = plain + text[0], text[1:]
            continue
        parts += [plain, mark] if plain else [mark]
        plain, text = "", text[len(mark) :]
    return [*parts, plain] if plain else parts


def test_stop_strings_are_looked_for_in_the_text_alone() -> None:
    """Not in thoughts and arguments; what comes behind one is nothing."""
    made = reader("hermes", ("STOP",))
    text = '<think>STOP</think>a<tool_call>{"name": "f", "arguments": {"x": "STOP"}}</tool_call>b STOP c<think>d'
    assert streamed(made, list(text)) == ("ab ", "STOP", [["f", '{"x": "STOP"}']])
    assert made.stopped
    assert made.reason("stop") == "tool_calls"
    assert made.reason("length") == "length"


@pytest.mark.parametrize("name", CORPUS)
def test_a_resumed_answer_goes_on_with_its_text(name: str) -> None:
    """Blanks count, and no thoughts are expected."""
    made = reader(name, resumed="Once ")
    assert [made.write(" upon"), made.end()] in ([" upon", ""], [" upon", " "])
    assert made.text == "Once  upon"


@pytest.mark.parametrize(
    ("name", "written", "arguments"),
    [
        ("hermes", r'<tool_call>{"name": "f", "arguments": "\ud83d"}</tool_call>', "\ufffd"),
        ("qwen3-coder", r'<function=f><parameter=n>"\ud83d"</parameter></function>', r'{"n": "\"\\ud83d\""}'),
        ("qwen3-coder", "<function=f><parameter=n>NaN</parameter></function>", '{"n": "NaN"}'),
        ("qwen3-coder", f"<function=f><parameter=n>{'[' * 9000}</parameter></function>", f'{{"n": "{"[" * 9000}"}}'),
    ],
)
def test_broken_json_in_a_call_can_be_told(name: str, written: str, arguments: str) -> None:
    """Half a character has no bytes on the wire; what is too deep or no JSON is a string."""
    made = reader(name)
    piece = made.write(written)
    assert frame(Tokens(1, [("job", piece)]))
    assert [call.function.arguments for call in made.tool_calls or ()] == [arguments]


def test_objects_within_objects_behind_a_call_are_read_once() -> None:
    """Each is no call and holds another block of calls; 2,000 of them took 24 s, and recursion its end."""
    call = '<tool_call>{"name": "f", "arguments": {}}'
    text = f"{call} " + '{"x": [' + call + '{"x": ['
    deep = text * 2000 + "]}]}" * 2000
    made = reader("hermes")
    start = time.process_time()
    assert streamed(made, [deep]) == (deep.removeprefix(call).lstrip(), "", [["f", "{}"]])
    assert time.process_time() - start < 5.0


def test_text_behind_a_call_without_an_end_keeps_its_first_character() -> None:
    """DeepSeek's block is over with whatever is no call; that belongs to the text."""
    block = f'</think>{DEEPSEEK_BEGIN[0]}{DEEPSEEK_BEGIN[1]}f{SEP}{{"a": 1}}{DEEPSEEK_END[0]}'
    assert streamed(reader("deepseek"), list(f"{block}\nHello")) == ("Hello", "", [["f", '{"a": 1}']])


def test_ids_are_those_of_another_attempt() -> None:
    """Made of the job and the number; another job's are others. Mistral's templates take nine letters."""
    two = '<tool_call>{"name": "f"}</tool_call><tool_call>{"name": "f"}</tool_call>'
    seen = []
    for job in ("a", "a", "b"):
        made = parsing.writer(OUTPUTS["hermes"], job, ())
        made.write(two)
        assert isinstance(made, AnswerReader)
        seen.append([call.id for call in made.tool_calls or ()])
    assert seen[0] == seen[1]
    assert len({*seen[0], *seen[2]}) == 4
    made = reader("mistral")
    made.write("[TOOL_CALLS]f[ARGS]{}")
    (call,) = made.tool_calls or ()
    assert len(call.id) == 9
    assert call.id.isalnum()


def test_one_call_is_enough_where_it_was_asked_for() -> None:
    """The answer ends with the first call's last character."""
    output = msgspec.structs.replace(OUTPUTS["hermes"], one_call=True)
    made = parsing.writer(output, "job", ())
    assert isinstance(made, AnswerReader)
    made.write('<tool_call>{"name": "f", "arguments": {"a": {}}')
    assert not made.stopped
    made.write("}</tool_call><tool_call>{")
    assert made.stopped
    assert [call.function.arguments for call in made.tool_calls or ()] == ['{"a": {}}']


def test_a_call_that_the_prompt_began_is_read_as_one() -> None:
    """Its name may stand in the prompt: it is told with the first piece."""
    output = Output("marked", calls="mistral", begun="[TOOL_CALLS]f[ARGS]")
    made = parsing.writer(output, "job", ())
    piece = made.write('{"a"')
    assert isinstance(piece, Delta)
    ((call,),) = (piece.tool_calls or (),)
    assert (call.name, call.arguments) == ("f", '{"a"')


def test_a_character_cut_by_a_control_token_does_not_hide_it() -> None:
    """Half a character becomes U+FFFD, and the name counts."""
    made = reader("harmony")
    for token, special in ((b"<|channel|>", True), (b"final", False), (b"<|message|>", True), (b"\xf0\x9f", False)):
        made.write_token(token, special=special, hidden=False)
    assert made.write_token(b"<|return|>", special=True, hidden=True) == "\ufffd"
    assert made.stopped
