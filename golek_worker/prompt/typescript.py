"""How does a harmony prompt describe a tool's parameters?

As a TypeScript type with comments, the form gpt-oss was trained on. `type_of` turns a JSON schema into it and follows
what the openai-harmony library writes; tests hold it equal to that, character by character.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_NAMES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}


def type_of(schema: Schema, indent: str = "") -> str:
    """The type that `schema` describes; `any` where it does not say, or says more than the form can."""
    variants, kind = schema.get("oneOf"), schema.get("type")
    if isinstance(variants, list):
        return "".join(f"\n{indent} | {_variant(variant, indent)}{_remark(variant)}" for variant in variants)
    if isinstance(kind, list):
        names = [("number" if name == "integer" else name) for name in kind if isinstance(name, str)]
        return " | ".join(names) or "any"
    if kind == "object":
        return _object(schema, indent)
    if kind == "array":
        items = schema.get("items")
        return f"{type_of(_schema(items), indent)}[]" if items is not None else "Array<any>"
    if kind == "string" and (choices := [f'"{choice}"' for choice in _strings(schema.get("enum"))]):
        return " | ".join(choices)
    return _NAMES.get(str(kind), "any")


def _object(schema: Schema, indent: str) -> str:
    required = set(_strings(schema.get("required")))
    lines = [*_comment(schema.get("description"), indent), "{"]
    for name, field in _mapping(schema.get("properties")).items():
        marked = f"{indent}{name}{'' if name in required else '?'}:"
        lines += _field(marked, _schema(field), indent)
    return "\n".join([*lines, f"{indent}}}"])


def _field(marked: str, schema: Schema, indent: str) -> Iterator[str]:
    """The lines of one property; `marked` is its name as it stands there."""
    variants = schema.get("oneOf")
    has_variants = isinstance(variants, list)
    if isinstance(title := schema.get("title"), str):
        yield from (f"{indent}// {title}", f"{indent}//")
    if not has_variants:
        yield from _comment(schema.get("description"), indent)
    if isinstance(schema.get("examples"), list) and schema["examples"]:
        yield f"{indent}// Examples:"
        yield from (f'{indent}// - "{example}"' for example in _strings(schema["examples"]))
    if has_variants:
        yield from _field_of_variants(marked, schema, indent)
        return
    default = f" // {_default(schema)}" if "default" in schema else ""
    yield f"{marked} {_or_null(schema, type_of(schema, indent + '    '))},{default}"


def _field_of_variants(marked: str, schema: Schema, indent: str) -> Iterator[str]:
    """A property with `oneOf`: its own words stand above, those of a variant behind it, none twice."""
    variants = [_schema(variant) for variant in schema["oneOf"]]
    words = _text(schema.get("description"))
    first = _text(variants[0].get("description")) if variants else None
    stand_above = words is not None and words != first
    if stand_above:
        yield from _comment(words, indent)
    if "default" in schema:
        yield f"{indent}// {_default(schema)}"
    yield marked
    for i, variant in enumerate(variants):
        said = _text(variant.get("description"))
        shown = said is not None and said != words and not (i == 0 and stand_above)
        remarks = [*([said] if shown and said else []), *([_default(variant)] if "default" in variant else [])]
        remark = f" // {' '.join(remarks)}" if remarks else ""
        yield f"{indent} | {_variant(variant, indent)}{remark}"
    yield f"{indent},"


def _variant(schema: Any, indent: str) -> str:
    return _or_null(_schema(schema), type_of(_schema(schema), indent + "   "))


def _remark(schema: Any) -> str:
    """What stands behind a variant that belongs to no property."""
    schema = _schema(schema)
    remarks = [said] if (said := _text(schema.get("description"))) is not None else []
    if "default" in schema:
        remarks.append(f"default: {_quoted(schema['default'])}")
    return f" // {' '.join(remarks)}" if remarks else ""


def _or_null(schema: Schema, text: str) -> str:
    return f"{text} | null" if schema.get("nullable") is True and "null" not in text else text


def _default(schema: Schema) -> str:
    """`default: …`, without quotes where it is one of several choices."""
    default = schema["default"]
    bare = isinstance(default, str) and bool(schema.get("enum"))
    return f"default: {default if bare else _quoted(default)}"


def _quoted(value: Any) -> str:
    """JSON; a string is not escaped."""
    if isinstance(value, str):
        return f'"{value}"'
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _comment(words: Any, indent: str) -> Iterator[str]:
    if isinstance(words, str):
        yield f"{indent}// {words}"


def _schema(value: Any) -> Schema:
    """`value` if it can be a schema; one that says nothing for `true` and for what is wrong."""
    return value if isinstance(value, Mapping) else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
