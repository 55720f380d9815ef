"""Can an answer be made to follow this JSON schema?

`compiled` is the schema as llguidance takes it. What it would not keep to is refused here with its place, as
`#/properties/age/not`, never left out: a caller relies on what a schema says. Keywords that say nothing about whether a
value is valid (title, default, …) are passed over, as are those that begin with `x-`.
"""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import msgspec

from golek_wire.errors import InvalidGrammarError

DEPTH_LIMIT: Final = 64
"""Schemas within schemas, and behind references. llguidance's recursion overflows its stack at some 500."""
SCHEMAS_LIMIT: Final = 2000
"""Schemas in a schema: with expressions in each, it takes a third of a second to compile."""
OPTIONAL_LIMIT: Final = 400
"""Properties of one object that may be left out: llguidance holds 2,000 places at once, and each takes four."""
ALTERNATIVES_LIMIT: Final = 1000
LISTED_LIMIT: Final = 256
"""Multiples that are listed one by one."""

WHITESPACE: Final = r" ?|\n[ \t]{0,20}"
"""Between the parts of JSON: a model that may write any number of blanks sometimes writes nothing else."""
FORMATS: Final = (
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid",
)  # fmt: skip
TYPES: Final = ("null", "boolean", "object", "array", "number", "integer", "string")

_ANNOTATIONS: Final = frozenset((
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "$schema", "contentEncoding", "contentMediaType", "contentSchema", "discriminator", "externalDocs", "xml",
))  # fmt: skip
_ONE: Final = ("items", "additionalItems", "additionalProperties")
_SEVERAL: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions")
_VALUES: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(_SEVERAL, (list,)), **dict.fromkeys(_NAMED, (dict,)),
    "const": (object,), "enum": (list,), "required": (list,), "type": (str, list), "format": (str,), "pattern": (str,),
    "minimum": (int, float), "maximum": (int, float), "exclusiveMinimum": (int, float),
    "exclusiveMaximum": (int, float), "multipleOf": (int, float), "minLength": (int,), "maxLength": (int,),
    "minItems": (int,), "maxItems": (int,), "minProperties": (int,), "maxProperties": (int,), "$ref": (str,),
    "$id": (str,),
}  # fmt: skip
_OF_NUMBERS: Final = ("multipleOf", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_INSTEAD: Final = {
    "nullable": "write `anyOf` with the type null",
    "dependencies": "write `anyOf`",
    "not": "say what is allowed",
    "if": "write `anyOf`",
    "uniqueItems": "leave it out and check the answer",
}

Schema = Mapping[str, Any]


def compiled(schema: Any, param: str, *, strict: bool = False) -> str:
    """`schema` as JSON, with how it is to be written.

    `strict` is OpenAI's: each object names all its properties as required and allows no others. Raises
    InvalidGrammarError that names the place in the schema.
    """
    walk = _Walk(schema, param, strict=strict)
    walk.check()
    kept = _replaced(schema, walk.narrowed) if walk.narrowed else schema
    return msgspec.json.encode({**kept, "x-guidance": {"whitespace_pattern": WHITESPACE}}).decode()


class _Walk:
    """Looks at every schema in a schema once."""

    def __init__(self, root: Any, param: str, *, strict: bool) -> None:
        self._root = root
        self._param = param
        self._strict = strict
        self.narrowed: dict[int, Schema] = {}
        """What stands for a schema, by the id of its object, where llguidance would not keep to it."""
        self._count = 0
        self._references: dict[str, str] = {}
        """Where each is first written."""

    def check(self) -> None:
        if not isinstance(self._root, dict):
            self._refuse("#", "a schema of an answer is an object")
        targets = {"#": self._measure("#", self._root)}
        todo = list(self._references)
        while todo:
            reference = todo.pop()
            if reference not in targets:
                before = len(self._references)
                targets[reference] = self._measure(reference, self._target(reference))
                todo += list(self._references)[before:]
        self._check_depth(targets)

    # -- one schema --------------------------------------------------------------------------------------------

    def _measure(self, at: str, schema: Any) -> tuple[int, set[str]]:
        """How deep a schema is, and what is referred to in it."""
        deepest, found = 0, set[str]()
        todo: list[tuple[str, Any, int]] = [(at, schema, 1)]
        while todo:
            at, schema, depth = todo.pop()
            self._count += 1
            if self._count > SCHEMAS_LIMIT:
                self._refuse(at, f"the schema consists of more than {SCHEMAS_LIMIT} schemas")
            if depth > DEPTH_LIMIT:
                self._refuse(at, f"schemas within schemas are nested deeper than {DEPTH_LIMIT}")
            deepest = max(deepest, depth)
            if isinstance(schema, bool):
                continue
            if not isinstance(schema, dict):
                self._refuse(at, f"a schema is an object or a boolean, not {_shown(schema)}")
            self._check_words(at, schema)
            if (narrower := _narrowed(schema)) is not None:
                self.narrowed[id(schema)] = narrower
            if "$ref" in schema:
                found.add(schema["$ref"])
                self._references.setdefault(schema["$ref"], f"{at}/$ref")
            todo += [(place, inner, depth + 1) for place, inner in self._inside(at, schema)]
        return deepest, found

    def _inside(self, at: str, schema: Schema) -> Iterator[tuple[str, Any]]:
        """The schemas of which a schema consists."""
        for word in _ONE:
            if word in schema:
                if isinstance(schema[word], list):  # `items` of older drafts
                    yield from ((f"{at}/{word}/{i}", one) for i, one in enumerate(schema[word]))
                else:
                    yield f"{at}/{word}", schema[word]
        for word in _SEVERAL:
            several = schema.get(word, [])
            if word in schema and not several:
                self._refuse(f"{at}/{word}", "it is empty")
            if word != "prefixItems" and len(several) > ALTERNATIVES_LIMIT:
                self._refuse(f"{at}/{word}", f"{len(several)} alternatives; at most {ALTERNATIVES_LIMIT} are followed")
            yield from ((f"{at}/{word}/{i}", one) for i, one in enumerate(several))
        for word in _NAMED:
            yield from ((f"{at}/{word}/{_escaped(name)}", one) for name, one in schema.get(word, {}).items())

    # -- its keywords ------------------------------------------------------------------------------------------

    def _check_words(self, at: str, schema: Schema) -> None:
        for word, value in schema.items():
            if word in _VALUES:
                kinds = _VALUES[word]
                if object not in kinds and (not isinstance(value, kinds) or isinstance(value, bool)):
                    self._refuse(f"{at}/{word}", f"{_shown(value)} where {' or '.join(map(_named, kinds))} belongs")
            elif word not in _ANNOTATIONS and word not in _ONE and (word == "x-guidance" or word[:2] != "x-"):
                instead = f"; {_INSTEAD[word]}" if word in _INSTEAD else ""
                self._refuse(f"{at}/{_escaped(word)}", f"the keyword is not supported{instead}")
        self._check_values(at, schema)
        if self._strict:
            self._check_strict(at, schema)
        optional = set(schema.get("properties", ())) - set(schema.get("required", ()))
        if len(optional) > OPTIONAL_LIMIT:
            self._refuse(
                f"{at}/properties",
                f"{len(optional)} may be left out; at most {OPTIONAL_LIMIT} are followed, so make others required",
            )

    def _check_values(self, at: str, schema: Schema) -> None:
        types = schema.get("type", [])
        for one in [types] if isinstance(types, str) else types:
            if one not in TYPES:
                self._refuse(f"{at}/type", f"{_shown(one)} is none of {', '.join(TYPES)}")
        if not all(isinstance(one, str) for one in schema.get("required", ())):
            self._refuse(f"{at}/required", "the names of properties belong here")
        if schema.get("enum") == []:
            self._refuse(f"{at}/enum", "it is empty")
        if schema.get("format", FORMATS[0]) not in FORMATS:
            self._refuse(f"{at}/format", f"{_shown(schema['format'])} is none of {', '.join(FORMATS)}")
        if "$id" in schema and at != "#":
            self._refuse(f"{at}/$id", "the keyword is supported in the outermost schema only")
        for least, most in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
            if least in schema and most in schema and schema[least] > schema[most]:
                self._refuse(f"{at}/{least}", f"{schema[least]} is larger than {most}, {schema[most]}")

    def _check_strict(self, at: str, schema: Schema) -> None:
        types = schema.get("type", ())
        if "properties" not in schema and types != "object" and "object" not in types:
            return
        if schema.get("additionalProperties") is not False:
            self._refuse(
                f"{at}/additionalProperties",
                'with `strict` every object says `"additionalProperties": false`; write it, or leave `strict` out',
            )
        required = schema.get("required", ())
        for name in schema.get("properties", ()):
            if name not in required:
                self._refuse(
                    f"{at}/required",
                    f"with `strict` every property is required, and {name!r} is not; for one that may be missing, "
                    "allow null",
                )

    # -- references --------------------------------------------------------------------------------------------

    def _target(self, reference: str) -> Any:
        """The schema that a reference means."""
        written = self._references[reference]
        if reference == "#":
            return self._root
        if not reference.startswith("#/"):
            self._refuse(written, f"{_shown(reference)}: references go into the same schema, as `#/$defs/name`")
        found = self._root
        for part in reference[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
                found = found[int(name)]
            else:
                self._refuse(written, f"there is nothing at {_shown(reference)}")
        return found

    def _check_depth(self, targets: dict[str, tuple[int, set[str]]]) -> None:
        """The deepest way through references, each gone once. Of schemas that refer to each other all are counted."""
        depth: dict[str, int] = {}
        for group in _groups({name: sorted(found) for name, (_, found) in targets.items()}):
            below = max((depth.get(to, 0) for name in group for to in targets[name][1]), default=0)
            deepest = below + sum(targets[name][0] for name in group)
            depth.update(dict.fromkeys(group, deepest))
            if deepest > 4 * DEPTH_LIMIT:
                name = group[0]
                self._refuse(
                    self._references.get(name, name), f"schemas behind references are deeper than {4 * DEPTH_LIMIT}"
                )

    def _refuse(self, at: str, what: str) -> NoReturn:
        """Raises InvalidGrammarError."""
        place = at if len(at) <= 200 else f"{at[:200]}…"
        raise InvalidGrammarError(f"{self._param}: {place}: {what}", param=self._param, schema_path=place)


def _narrowed(schema: Schema) -> Schema | None:
    """A schema of numbers as llguidance 1.9.1 does keep to it; None where it does so anyway.

    Few multiples are listed: of those from -8.5 to below -8.25 by 0.25 it finds none. An exclusive bound is moved by a
    billionth where it would be written itself: a whole number, if the other bound is less than 1 further from zero.
    Above 4 and up to 4.25 it writes 4.
    """
    if (listed := _multiples(schema)) is not None:
        return {name: value for name, value in schema.items() if name not in _OF_NUMBERS} | {"enum": listed}
    lower, upper = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if (lower is None and upper is None) or schema.get("type") == "integer":
        return None
    least = max(schema.get("minimum", -math.inf), -math.inf if lower is None else lower)
    most = min(schema.get("maximum", math.inf), math.inf if upper is None else upper)
    if lower is not None and lower >= 0 and lower == int(lower) and most <= lower + 1:
        return {**schema, "exclusiveMinimum": lower + max(1e-9, lower * 1e-12)}
    if upper is not None and upper <= 0 and upper == int(upper) and least >= upper - 1:
        return {**schema, "exclusiveMaximum": upper - max(1e-9, -upper * 1e-12)}
    return None


def _multiples(schema: Schema) -> list[int | float] | None:
    """All numbers that a schema allows, where it says of what they are multiples and they are at most LISTED_LIMIT."""
    if schema.get("type") != "number" or "multipleOf" not in schema or not {"enum", "const"}.isdisjoint(schema):
        return None
    step, *bounds = (Decimal(str(schema[name])) if name in schema else None for name in _OF_NUMBERS)
    least, above, most, below = bounds
    lower = max((one for one in (least, above) if one is not None), default=None)
    upper = min((one for one in (most, below) if one is not None), default=None)
    if step is None or step <= 0 or lower is None or upper is None or (upper - lower) / step > LISTED_LIMIT:
        return None
    first, last = math.ceil(lower / step), math.floor(upper / step)
    found = [number * step for number in range(first, last + 1)]
    kept = [one for one in found if (above is None or one > above) and (below is None or one < below)]
    return [int(one) if one == int(one) else float(one) for one in kept] or None


def _replaced(value: Any, instead: Mapping[int, Schema]) -> Any:
    """A copy of `value` with other objects where `instead` has them."""
    if isinstance(value, dict):
        return {name: _replaced(one, instead) for name, one in instead.get(id(value), value).items()}
    if isinstance(value, list):
        return [_replaced(one, instead) for one in value]
    return value


def _groups(edges: dict[str, list[str]]) -> Iterator[list[str]]:
    """Names that lead to each other, those that others lead to first (Kosaraju's algorithm, without recursion)."""
    order: list[str] = []
    seen: set[str] = set()
    for name, first in edges.items():
        path = [(name, iter(first))] if name not in seen else []
        seen.add(name)
        while path:
            for to in path[-1][1]:
                if to not in seen:
                    seen.add(to)
                    path.append((to, iter(edges[to])))
                    break
            else:
                order.append(path.pop()[0])
    into: dict[str, list[str]] = {name: [] for name in edges}
    for name, found in edges.items():
        for to in found:
            into[to].append(name)
    groups = []
    taken: set[str] = set()
    for name in reversed(order):
        if name in taken:
            continue
        group, todo = [], [name]
        taken.add(name)
        while todo:
            group.append(todo.pop())
            fresh = [one for one in into[group[-1]] if one not in taken]
            taken.update(fresh)
            todo += fresh
        groups.append(group)
    yield from reversed(groups)


def _escaped(name: str) -> str:
    """A name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}…"


def _named(kind: type) -> str:
    return {str: "a string", list: "an array", dict: "an object", int: "an integer", float: "a number"}[kind]
