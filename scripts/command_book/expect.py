"""Is what came back what the document prints?

JSON is compared by keys and types: an answer may have more keys, and other values.
"""

import json
import re
from datetime import datetime
from typing import Any


def mismatch(line: dict[str, Any], status: int, out: str, replies: dict[str, str]) -> str | None:
    """What is wrong with the output `out` of `line`; None when nothing is."""
    if status != 0:
        return f"exit status {status}"
    if "reply" in line:
        names = line["reply"] if isinstance(line["reply"], list) else [line["reply"]]
        return _replies(out, [(name, _example(replies[name])) for name in names])
    if "prints" in line:
        printed = [row.removeprefix("# ").strip() for row in line["prints"].strip().splitlines()]
        came = [row.strip() for row in out.strip().splitlines()]
        return None if came == printed else f"printed {came} instead of {printed}"
    return None if re.search(line["says"], out, re.MULTILINE) else f"nothing matches {line['says']!r}"


def _replies(out: str, wanted: list[tuple[str, Any]]) -> str | None:
    """Every JSON value in `out` has the shape of its example; the last example may come again and again."""
    came = list(_values(out))
    if len(came) < len(wanted):
        return f"{len(came)} JSON values came, {len(wanted)} were expected"
    for number, value in enumerate(came):
        name, example = wanted[min(number, len(wanted) - 1)]
        if wrong := _differs(value, example, name):
            return wrong
    return None


def _values(text: str) -> Any:
    """The JSON objects in `text`, in order."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield value
        at = text.find("{", end)


def _example(printed: str) -> Any:
    """The printed JSON; `...` in a list stands for more of the same."""
    return json.loads(re.sub(r",\s*\.\.\.", "", printed))


def _differs(value: Any, example: Any, path: str) -> str | None:
    """Where `value` lacks a key of `example`, or has another type there."""
    if isinstance(example, dict):
        if not isinstance(value, dict):
            return f"{path}: {value!r} is no object"
        missing = [key for key in example if key not in value]
        if missing:
            return f"{path}: no {', '.join(missing)} in {value!r}"
        return next(filter(None, (_differs(value[key], example[key], f"{path}.{key}") for key in example)), None)
    if isinstance(example, list):
        if not isinstance(value, list) or not value:
            return f"{path}: {value!r} is no list with something in it"
        return next(filter(None, (_differs(item, example[0], f"{path}[]") for item in value)), None)
    if example is None:
        return None if value is None else f"{path}: {value!r} is not null"
    if isinstance(example, bool) or isinstance(value, bool):
        return None if type(value) is type(example) else f"{path}: {value!r} is no {type(example).__name__}"
    if isinstance(example, int | float):
        return None if isinstance(value, int | float) else f"{path}: {value!r} is no number"
    if not isinstance(value, str):
        return f"{path}: {value!r} is no text"
    return f"{path}: {value!r} is no time" if _is_time(example) and not _is_time(value) else None


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
