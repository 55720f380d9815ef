"""What the answer to a request must follow: which constraint a wish becomes, and what is said of a wrong one."""

import json
from typing import Any

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError, InvalidGrammarError, UnknownGrammarError
from golek_worker.engine.base import Constraint
from golek_worker.grammars import gbnf, schemas
from golek_worker.structure import LARGE, built_in, check, constraint

YES = 'root ::= "yes"'
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def made(**body: Any) -> Constraint | None:
    """The constraint of a request."""
    request = codec.decode_request(json.dumps({"input": "hi", **body}).encode())
    return constraint(request, {"stored": YES}.get)


def by_schema(schema: Any, strict: bool | None = None) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": strict}}


def test_a_wish_becomes_a_constraint() -> None:
    """Each field is one kind of constraint, and names itself for errors; a free answer has none."""
    assert made() is None
    assert made(response_format={"type": "text"}) is None
    assert made(params={"grammar": YES}) == Constraint("gbnf", YES)
    assert made(params={"grammar": "stored"}) == Constraint("gbnf", YES)
    assert made(params={"regex": "[a-z]+"}) == Constraint("regex", "[a-z]+", "params.regex")
    assert made(params={"choice": ["a", 'b"\n', "a"]}) == Constraint("lark", r'start: "a" | "b\"\n"', "params.choice")
    found = made(response_format={"type": "json_object"})
    assert found is not None
    assert json.loads(found.text)["type"] == "object"
    found = made(response_format=by_schema(PERSON, strict=True))
    assert found is not None
    assert (found.kind, found.param) == ("json_schema", "response_format.json_schema.schema")
    assert json.loads(found.text) == PERSON | {"x-guidance": {"whitespace_pattern": schemas.WHITESPACE}}


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"params": {"grammar": "nobody"}}, UnknownGrammarError, "'nobody'"),
        ({"params": {"grammar": "not a name"}}, UnknownGrammarError, "'not a name'"),
        ({"params": {"grammar": "root ::= ("}}, InvalidGrammarError, "params.grammar: line 1, column 11"),
        ({"params": {"grammar": YES, "regex": "a"}}, BadRequestError, "params.grammar and params.regex"),
        (
            {"params": {"choice": ["a"]}, "response_format": {"type": "json_object"}},
            BadRequestError,
            "params.choice and response_format",
        ),
        ({"params": {"choice": ["a", ""]}}, BadRequestError, "params.choice: number 2 is empty"),
        ({"response_format": {"type": "json_schema"}}, BadRequestError, "response_format.json_schema"),
    ],
)
def test_a_wrong_wish_is_named(body: dict[str, Any], error: type[Exception], words: str) -> None:
    """Unknown, unreadable, two at once, or incomplete: the error names the fields."""
    with pytest.raises(error, match=words.replace("(", r"\(")):
        made(**body)


DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"items": DEEP}
CHAIN = {f"d{i}": {"properties": {"x": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(300)} | {"d300": {}}


@pytest.mark.parametrize(
    ("schema", "place", "words"),
    [
        ({"properties": {"a/b~c": {"not": {}}}}, "#/properties/a~1b~0c/not", "not supported; say what is allowed"),
        ({"items": {"items": {"uniqueItems": True}}}, "#/items/items/uniqueItems", "not supported"),
        ({"minLenght": 3}, "#/minLenght", "not supported"),
        ({"x-guidance": {"lenient": True}}, "#/x-guidance", "not supported"),
        ({"nullable": True}, "#/nullable", "with the type null"),
        ({"type": "text"}, "#/type", '"text" is none of null, boolean'),
        ({"type": ["string", 3]}, "#/type", "3 is none of"),
        ({"properties": {"a": 3}}, "#/properties/a", "an object or a boolean, not 3"),
        ({"properties": []}, "#/properties", "an object belongs"),
        ({"required": "a"}, "#/required", "an array belongs"),
        ({"required": [1]}, "#/required", "the names of properties"),
        ({"minimum": True}, "#/minimum", "true where an integer or a number belongs"),
        ({"minLength": 3, "maxLength": 2}, "#/minLength", "3 is larger than maxLength, 2"),
        ({"enum": []}, "#/enum", "empty"),
        ({"anyOf": []}, "#/anyOf", "empty"),
        ({"anyOf": [{}] * 1001}, "#/anyOf", "1001 alternatives"),
        ({"format": "isbn"}, "#/format", '"isbn" is none of date-time'),
        ({"items": {"$ref": "#/$defs/no"}}, "#/items/$ref", 'nothing at "#/\\$defs/no"'),
        ({"$ref": "https://example.org/a"}, "#/$ref", "into the same schema"),
        ({"properties": {"a": {"$id": "x"}}}, "#/properties/a/$id", "outermost"),
        (DEEP, "#/items", "deeper than 64"),
        ({"$defs": CHAIN, "$ref": "#/$defs/d0"}, "#/$defs", "deeper than 256"),
        ({"properties": {f"p{i}": {} for i in range(401)}}, "#/properties", "401 may be left out"),
        ({"$defs": {f"p{i}": {} for i in range(2000)}}, "#/$defs", "more than 2000"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_kept_to_says_where(schema: Any, place: str, words: str) -> None:
    """The place in the schema, what is wrong there, and what would do; nothing is passed over in silence."""
    with pytest.raises(InvalidGrammarError, match=words) as caught:
        schemas.compiled(schema, "it")
    assert caught.value.details["schema_path"].startswith(place)
    assert caught.value.message.startswith(f"it: {place}")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (PERSON | {"additionalProperties": True}, "#/additionalProperties"),
        ({"type": "object", "properties": {}}, "#/additionalProperties"),
        (PERSON | {"required": ["name"]}, "#/required"),
        (PERSON | {"properties": PERSON["properties"] | {"age": {"type": ["object", "null"]}}}, "#/properties/age/"),  # type: ignore[operator]
    ],
)
def test_strict_wants_closed_objects(schema: Any, place: str) -> None:
    """OpenAI's meaning: all properties required and no others allowed, in every object; else both are free."""
    with pytest.raises(InvalidGrammarError, match="strict") as caught:
        schemas.compiled(schema, "it", strict=True)
    assert caught.value.details["schema_path"].startswith(place)
    assert not place.endswith("/additionalProperties") or '`"additionalProperties": false`' in caught.value.message
    assert schemas.compiled(schema, "it")


def test_a_schema_may_refer_to_itself() -> None:
    """A tree and two definitions that refer to each other, annotations and names of others' tools."""
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
    assert schemas.compiled({"$defs": {"node": node}, "$ref": "#/$defs/node", "title": "T", "x-order": 1}, "it")
    pair = {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}
    assert schemas.compiled(
        {"$defs": pair, "items": {"$ref": "#"}, "additionalProperties": {"$ref": "#/$defs/a"}}, "it"
    )


def test_built_in_grammars_are_grammars() -> None:
    """`code` and `json`, each with a sentence that says what it is."""
    found = built_in()
    assert list(found) == ["code", "json"]
    for one in found.values():
        gbnf.check(one.content)
        assert len(one.description) > 20


def test_a_large_grammar_is_left_to_the_thread() -> None:
    """At the gate a grammar of 16 KiB is not read; where the job runs it is."""
    grammar = f"root ::= {'a ' * (LARGE // 2)}"
    request = codec.decode_request(json.dumps({"input": "hi", "params": {"grammar": grammar}}).encode())
    check(request, {}.get)
    with pytest.raises(InvalidGrammarError, match="'a' is not defined"):
        constraint(request, {}.get)
