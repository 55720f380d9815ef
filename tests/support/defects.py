"""What do servers of OpenAI's dialect get wrong in their answers?

Each defect has a name, and a function from the chunks of a good stream to those of a bad one; most were found to break
one client or another. The stand-in of tests/support/clouds.py answers with them.
"""

import copy
import json
from collections.abc import Callable
from typing import Any, Final

Json = dict[str, Any]
Chunks = list[Json]


def _choices(chunks: Chunks) -> list[Json]:
    return [choice for chunk in chunks for choice in chunk.get("choices") or ()]


def _calls(chunks: Chunks) -> list[Json]:
    return [call for choice in _choices(chunks) for call in choice["delta"].get("tool_calls", ())]


def _each(items: Callable[[Chunks], list[Json]], change: Callable[[Json], object]) -> Callable[[Chunks], list[Any]]:
    """A defect that changes some objects of a stream."""

    def changed(chunks: Chunks) -> list[Any]:
        changed = copy.deepcopy(chunks)
        for item in items(changed):
            change(item)
        return changed

    return changed


def _without(name: str) -> Callable[[Json], object]:
    return lambda item: item.pop(name, None)


def _arguments_as_object(chunks: Chunks) -> list[Any]:
    """Calls come whole, their arguments an object."""
    kept: list[Json] = []
    for chunk in copy.deepcopy(chunks):
        calls = _calls([chunk])
        if calls and "id" not in calls[0]:
            continue
        for call in calls:
            call["function"]["arguments"] = {"city": "Paris"}
        kept.append(chunk)
    return kept


def _finish(word: str) -> Callable[[Json], object]:
    def change(choice: Json) -> None:
        if choice["finish_reason"]:
            choice["finish_reason"] = word

    return change


def _repeated_id(chunks: Chunks) -> list[Any]:
    changed, last = copy.deepcopy(chunks), ""
    for call in _calls(changed):
        last = call.setdefault("id", last)
        call["function"].setdefault("name", "")
    return changed


def _usage_without_choices(chunks: Chunks) -> list[Any]:
    return [{k: v for k, v in chunk.items() if k != "choices" or v} for chunk in chunks]


def _usage_with_null_choices(chunks: Chunks) -> list[Any]:
    return [chunk if chunk["choices"] else {**chunk, "choices": None} for chunk in chunks]


def _without_finish(chunks: Chunks) -> list[Any]:
    return [chunk for chunk in chunks if not (chunk["choices"] and chunk["choices"][0]["finish_reason"])]


def _unknown_fields(chunks: Chunks) -> list[Any]:
    return [
        {**chunk, "timings": {"predicted_ms": 1.5}, "x_groq": [1], "choices": [
            {**choice, "token_ids": None, "delta": {**choice["delta"], "provider_specific_fields": {"a": 1}}}
            for choice in chunk["choices"]]}
        for chunk in chunks
    ]  # fmt: skip


def _framed(before: bytes, end: bytes) -> Callable[[Chunks], list[Any]]:
    return lambda chunks: [before + json.dumps(chunk).encode() + end for chunk in chunks]


DEFECTS: Final[dict[str, Callable[[Chunks], list[Any]]]] = {
    "tool-without-index": _each(_calls, _without("index")),
    "tool-without-id": _each(_calls, _without("id")),
    "tool-all-index-0": _each(_calls, lambda call: call.update(index=0)),
    "tool-arguments-object": _arguments_as_object,
    "tool-repeated-id": _repeated_id,
    "tool-empty-id": _each(_calls, lambda call: call.setdefault("id", "")),
    "tool-stop": _each(_choices, _finish("stop")),
    "usage-without-choices": _usage_without_choices,
    "usage-null-choices": _usage_with_null_choices,
    "no-usage": lambda chunks: [chunk for chunk in chunks if chunk["choices"]],
    "no-finish": _without_finish,
    "no-envelope": lambda chunks: [{k: v for k, v in chunk.items() if k in ("choices", "usage")} for chunk in chunks],
    "no-choice-index": _each(_choices, _without("index")),
    "no-role": _each(_choices, lambda choice: choice["delta"].pop("role", None)),
    "finish-eos": _each(_choices, _finish("eos")),
    "finish-safety": _each(_choices, _finish("SAFETY")),
    "finish-error": _each(_choices, _finish("error")),
    "unknown-fields": _unknown_fields,
    "content-parts": _each(
        _choices,
        lambda choice: choice["delta"].update(
            content=[{"type": "text", "text": choice["delta"]["content"]}] if choice["delta"].get("content") else None
        ),
    ),
    "crlf": _framed(b"data: ", b"\r\n\r\n"),
    "comments": _framed(b": OPENROUTER PROCESSING\n\ndata: ", b"\n\n"),
    "no-blank": _framed(b"data:", b"\n\n"),
    "no-done": list,
}
