"""What does the text of a setting mean?

Each value in the type of its field, or a sentence about what is wrong with it; and a value as it may be shown.
"""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from golek_program.settings import names
from golek_program.settings.sources import ENVIRONMENT, Found, Given


def convert(found: Found, kind: type[Struct], mistakes: list[str], quiet: str) -> dict[str, Any]:
    """The values that count, each in its type; what does not convert goes to `mistakes`.

    A mistake says where it stands unless that is `quiet`.
    """
    converted: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        key = name.upper()
        given = found.of(key)
        if not given:
            continue
        try:
            converted[name] = _value(key, given[0].value, hint)
        except msgspec.MsgspecError as error:
            mistakes.append(_mistake(key, given[0], hint, str(error), quiet))
    return converted


_WORDS = {"yes": True, "on": True, "no": False, "off": False}
_SWITCH = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
"""The same for a switch with a third position."""


def _value(key: str, text: str, hint: Any) -> Any:
    """`text` as `hint` says: case does not matter for a word, an object is JSON. Raises msgspec.MsgspecError."""
    if get_origin(hint) is dict:
        return msgspec.json.decode(text, type=hint)
    if hint is bool:
        return _WORDS[text.lower()] if text.lower() in _WORDS else msgspec.convert(text, bool, strict=False)
    if get_origin(hint) is Literal:
        text = text.lower()
        text = names.SPELLINGS.get(key, {}).get(text, text)
        if "true" in get_args(hint):
            text = _SWITCH.get(text, text)
    return msgspec.convert(text, hint, strict=False)


def _mistake(key: str, given: Given, hint: Any, why: str, quiet: str) -> str:
    """The sentence about a wrong value: what there is to choose from, or what was expected."""
    if get_origin(hint) is Literal:
        why = f"one of {', '.join(str(choice) for choice in get_args(hint))}"
        if given.value.lower() in names.CLOUDS.get(key, ()):
            why = f"{names.WHY_NO_CLOUD}; here {why}"
    elif hint is bool:
        why = "one of true, false, yes, no, on, off, 1, 0"
    where = "" if given.source == quiet else f" (in {_place(given.source)})"
    return f"{given.name}={hidden(given.value)}: {why}{where}"


def _place(source: str) -> str:
    return "the environment" if source == ENVIRONMENT else source


def hidden(value: str) -> str:
    """`value` as it may be shown: a URL without user, password or token, a web address without its signature."""
    if "://" not in value:
        return value
    from golek_client.connection import shown  # brings nats-py, which `golek --help` need not wait for

    plain, mark, _ = value.partition("?") if value.startswith(("http://", "https://")) else (value, "", "")
    return shown(plain) + (mark and "?…")
