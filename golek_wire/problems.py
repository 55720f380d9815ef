"""What is wrong with a message that does not fit its type?

msgspec names the place and the limit. The value stands in the message, which is read once more for it: that costs
nothing where nothing is wrong.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from golek_wire.errors import BadRequestError
from golek_wire.routing import RouteWish

SHOWN = 60
"""Characters of a value in a message."""
_at_path = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_unknown = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_missing = re.compile(r"Object missing required field `(.*)`")
_steps = re.compile(r"[^.\[\]]+|\[(?:\d+|\.\.\.)\]")
_KINDS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null", list: "array", dict: "object"}
_HINTS = {"priority": "; it is 1 (low), 2 (normal) or 3 (high)"}
_MAPS = {
    "orchestration.stages": '; who does one is said in duties, as {"stages": ["draft"], "duties": {"draft": "phi-4"}}'
}
"""For who wrote a mapping there."""


def named(error: msgspec.ValidationError, payload: bytes, kind: Any) -> BadRequestError:
    """msgspec's message with the field in front and the value behind: `params.n: Expected `int` >= 1; got 0`."""
    match = _at_path.fullmatch(str(error))
    if match is None and (unknown := _unknown.fullmatch(str(error))) is not None:
        return _nowhere("", unknown[1], _type(kind))
    if match is None and (missing := _missing.fullmatch(str(error))) is not None:
        return BadRequestError(f"{missing[1]}: is missing", param=missing[1])
    if match is None:
        return BadRequestError(f"The request is not an object of the expected form: {error}")
    problem, path = match.groups()
    expected = _type(kind)
    value = _read(payload)
    place = ""
    for step in _steps.findall(path):
        expected, value, shown = _inside(expected, value, step, problem)
        place += shown
    place = place.removeprefix(".")
    if (unknown := _unknown.fullmatch(problem)) is not None:
        return _nowhere(f"{place}.", unknown[1], expected)
    if isinstance(expected, inspect.NoneType):
        problem = f'belongs into `params`, as {{"params": {{"{place}": …}}}}'
        if place in RouteWish.__struct_fields__:
            problem = f'belongs into `route`, as {{"route": {{"{place}": …}}}}'
        elif place.startswith("params."):
            problem = f'belongs beside `params`, as {{"{place.removeprefix("params.")}": …, "params": {{…}}}}'
    elif problem.startswith("Invalid enum value"):
        problem += f"; one of {', '.join(_choices(expected))}"
    else:
        problem += _got(problem, value) + (_HINTS.get(path) or _MAPS.get(path, "") * isinstance(value, dict))
    return BadRequestError(f"{place or 'request'}: {problem}", param=place or None)


def in_file(error: msgspec.ValidationError, loaded: Any, form: Any, entries: Mapping[str, Any]) -> str:
    """What is wrong in a file that was read, with the name below which it stands, and what is allowed there. `entries`
    has the form of what stands below each of its keys by name.
    """
    for key, kind in entries.items():
        below = loaded.get(key) if isinstance(loaded, dict) else None
        for name, said in below.items() if isinstance(below, dict) else ():
            try:
                msgspec.convert(said, kind)
            except msgspec.ValidationError as inside:
                if " - at " not in str(inside) and "field" not in str(inside):
                    return f"{key}.{name}: {inside}"
                return f"{key}.{name}.{named(inside, msgspec.json.encode(said), kind).message}"
    return named(error, msgspec.json.encode(loaded), form).message


def _nowhere(place: str, name: str, expected: Any) -> BadRequestError:
    """A field where only known ones may stand."""
    known = [
        field.encode_name for one in _each(expected) if isinstance(one, inspect.StructType) for field in one.fields
    ]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}" if near else ""
    named = f"{place}{name[:SHOWN]}"
    return BadRequestError(f"{named}: no such field{hint}; there is {', '.join(known)}", param=named)


@lru_cache(maxsize=32)
def _type(kind: Any) -> Any:
    return inspect.type_info(kind)


def _read(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.UNSET  # what is wrong behind the place in question hides the value


def _inside(expected: Any, value: Any, step: str, problem: str) -> tuple[Any, Any, str]:
    """The type and the value one step further, and how the step is written."""
    if step == "[...]":  # some key
        key, value = _entry(value, problem)
        return _first(one.value_type for one in _each(expected) if isinstance(one, inspect.DictType)), value, key
    if step[0] == "[":
        at = int(step[1:-1])
        value = value[at] if isinstance(value, list) and at < len(value) else msgspec.UNSET
        return _first(getattr(one, "item_type", None) for one in _each(expected)), value, step
    fields = (field for one in _each(expected) if isinstance(one, inspect.StructType) for field in one.fields)
    value = value.get(step, msgspec.UNSET) if isinstance(value, dict) else msgspec.UNSET
    return _first(field.type for field in fields if field.encode_name == step), value, f".{step}"


def _entry(value: Any, problem: str) -> tuple[str, Any]:
    """The first entry of an object whose value is of the kind that was not expected."""
    for key, one in value.items() if isinstance(value, dict) else ():
        if problem.endswith(f"got `{_KINDS.get(type(one))}`"):
            return f"[{_json(key)}]", one
    return "[...]", msgspec.UNSET


def _each(expected: Any) -> Iterator[Any]:
    """What a type allows."""
    for one in expected.types if isinstance(expected, inspect.UnionType) else (expected,):
        yield one.type if isinstance(one, inspect.Metadata) else one


def _first(found: Iterator[Any]) -> Any:
    return next((one for one in found if one is not None), None)


def _choices(expected: Any) -> list[str]:
    return [str(value) for one in _each(expected) if isinstance(one, inspect.LiteralType) for value in one.values]


def _got(problem: str, value: Any) -> str:
    """The value, where it says more than its type; of what is too long or too short its length."""
    if " of length " in problem and isinstance(value, str | list | dict):
        return f"; got {len(value)}"
    if value is None or not isinstance(value, str | int | float):
        return ""
    return f" ({_json(value)})" if ", got `" in problem else f"; got {_json(value)}"


def _json(value: str | float) -> str:
    text = json.dumps(value[: SHOWN + 1] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
