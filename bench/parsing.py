"""Is what is read of an answer the same however it is cut, and what does reading a token cost?

Every recorded output of tests/engine/golden/parsing, whole, character by character, cut in two at every place and cut
at random; each streamed and not. Then the time per token of a long answer in each format, beside one that is only text.
"""

import json
import os
import random
import time

import msgspec
from support import ROOT, figure, median, note

from golek_wire.replies import Delta
from golek_worker.engine import parsing
from golek_worker.engine.parsing import Writer
from golek_worker.engine.parsing.reader import AnswerReader
from golek_worker.engine.text import TextWriter
from golek_worker.output import Output

BENCH = "parsing"
RANDOM_CUTS = int(os.environ.get("PARSING_RANDOM_CUTS", "200"))
"""Random ways of cutting each output."""
TOKENS = int(os.environ.get("PARSING_TOKENS", "20000"))
ROUNDS = int(os.environ.get("PARSING_ROUNDS", "5"))
Read = tuple[str, str, list[list[str]]]


def streamed(writer: Writer, pieces: list[str]) -> tuple[Read, Read]:
    """What the pieces say joined, and what the whole says."""
    text, thoughts = "", ""
    calls: list[list[str]] = []
    for said in [*map(writer.write, pieces), writer.end()]:
        delta = Delta(said) if isinstance(said, str) else said
        text += delta.text
        thoughts += delta.reasoning_content
        for call in delta.tool_calls or ():
            if call.index == len(calls):
                calls.append([call.name, ""])
            calls[call.index][1] += call.arguments
    if isinstance(writer, TextWriter):
        return (text, thoughts, calls), (writer.text, "", [])
    whole = [[call.function.name, call.function.arguments] for call in writer.tool_calls or ()]
    return (text, thoughts, calls), (writer.text, writer.reasoning_content or "", whole)


def ways(text: str, draw: random.Random) -> list[list[str]]:
    """The ways in which one output is cut."""
    found = [list(text), *([text[:at], text[at:]] for at in range(1, len(text)))]
    for _ in range(RANDOM_CUTS):
        at = sorted(draw.sample(range(len(text) + 1), min(len(text), draw.randint(1, 20))))
        found.append([text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])
    return found


def differences() -> None:
    """Cut every output in every way."""
    draw = random.Random(1)
    outputs = cuts = differing = 0
    for file in sorted((ROOT / "tests/engine/golden/parsing").glob("*.json")):
        recorded = json.loads(file.read_text("utf-8"))
        output = msgspec.convert(recorded["output"], Output)
        for case in recorded["cases"]:
            outputs += 1
            wanted = (case["says"], case["thinks"] or "", case["calls"])
            for pieces in [[case["text"]], *ways(case["text"], draw)]:
                cuts += 1
                if set(map(repr, streamed(parsing.writer(output, "job", ()), pieces))) != {repr(wanted)}:
                    differing += 1
                    note(f"{file.stem}, {case['name']}: {pieces}")
    figure(BENCH, "outputs", outputs, None, "outputs", 1)
    figure(BENCH, "cuts", cuts, None, "ways", 1)
    figure(BENCH, "differences", differing, None, "ways", 1)


def cost(output: Output, opening: str) -> float:
    """Microseconds for one token of a long answer."""
    writer = parsing.writer(output, "job", ())
    writer.write(opening)
    tokens = [b" word", b" and", b" more", b",", b" of", b" it", b".\n"]
    began = time.perf_counter()
    if isinstance(writer, AnswerReader):
        for i in range(TOKENS):
            writer.write_token(tokens[i % 7], special=False, hidden=False)
    else:
        for i in range(TOKENS):
            writer.write_bytes(tokens[i % 7])
    return (time.perf_counter() - began) / TOKENS * 1e6


def main() -> None:
    """Print the figures."""
    differences()
    think, marked = ("<think>", "</think>"), Output("marked", ("<think>", "</think>"), "tool_call")
    timed = {
        "text": (Output(), ""),
        "thoughts": (Output("marked", think), "<think>"),
        "text_behind_thoughts": (Output("marked", think), "<think>a</think>b"),
        "text_with_tools": (marked, "b"),
        "arguments": (marked, '<tool_call>{"name": "f", "arguments": {"a": "'),
        "harmony": (Output("harmony"), "<|channel|>final<|message|>"),
    }
    rounds = [{name: cost(*asked) for name, asked in timed.items()} for _ in range(ROUNDS)]
    plain = median([found["text"] for found in rounds])
    for name in timed:
        figure(BENCH, f"token_us_{name}", median([found[name] for found in rounds]), plain, "us", ROUNDS)


if __name__ == "__main__":
    main()
