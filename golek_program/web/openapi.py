"""What can be asked over HTTP, as an OpenAPI document?

Made of the routes themselves and of the structs that their handlers read and write, so that it cannot say anything
else than the code: paths, what they take and give, which errors, whether a key is needed. The sentences under the
fields of a struct are the descriptions of its fields.
"""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec import inspect as types
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from golek_program.web.described import JSON, About, about, describe
from golek_wire import codec
from golek_wire.requests import Params

REF: Final = "#/components/schemas/{name}"
EVENTS: Final = "text/event-stream"
VALUES: Final = {"model": "golek-tiny", "name": "answer", "session_id": "ann-1"}
"""Values to try, of parameters that several routes have."""
LAST: Final = ("Health", "Pages")
"""Groups that stand behind the others."""
PROBLEMS: Final = {
    400: "The request is not understood; `error.param` names the field.",
    401: "No key is given, or nobody knows it.",
    403: "The key is not for this.",
    404: "There is nothing of this name.",
    405: "The path does not take this method.",
    408: "The body stopped coming.",
    409: "It does not fit what is there.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    429: "The queue is full, or the key's rate is used up; `retry-after` says when to come again.",
    499: "The job was cancelled.",
    500: "The job failed.",
    501: "This fleet cannot do that.",
    502: "The models that were asked came to no usable answer.",
    503: "Nobody can serve this at the moment; `retry-after` says when to come again.",
    504: "The answer was not ready by the deadline.",
}
BODY: Final = (400, 408, 413)
ASKED: Final = (400, 403, 404, 409, 413, 429, 499, 500, 502, 503, 504)


class Work(NamedTuple):
    """What the document is about."""

    title: str
    description: str
    server: str
    """Whose routes these are, in a sentence."""
    guarded: tuple[int, ...] = (401, 503)
    """Errors of all routes that are not open."""


_parameter = re.compile(r"\{(\w+)(?::\w+)?\}")


def route(routes: Iterable[BaseRoute], is_open: Callable[[str], bool], work: Work) -> Route:
    """GET /openapi.json, which tells of `routes` and of itself."""
    known = [one for one in routes if isinstance(one, Route)]

    @functools.cache
    def written() -> bytes:
        return codec.encode(document([*known, itself], is_open, work))

    @describe(group="Pages", summary="This document: all routes, as OpenAPI 3.1.", reply=dict[str, Any])
    async def openapi(request: Request) -> Response:  # noqa: ARG001
        return Response(written(), media_type=JSON)

    itself = Route("/openapi.json", openapi, methods=["GET"])
    return itself


def document(routes: Iterable[Route], is_open: Callable[[str], bool], work: Work) -> dict[str, Any]:
    """The document of those of `routes` that say what they do.

    Where several paths lead to the same, all but the first have `x-same-as` with the first one's `operationId`.
    """
    told = [(one, found) for one in routes if (found := about(one.endpoint)) is not None]
    groups = list(dict.fromkeys(found.group for _, found in told))
    groups.sort(key=lambda group: group in LAST)
    told.sort(key=lambda pair: groups.index(pair[1].group))
    schemas = _Schemas(kind for _, found in told for kind in _kinds(found))
    paths: dict[str, dict[str, Any]] = {}
    first: dict[tuple[Any, str, tuple[str, ...]], str] = {}
    for one, found in told:
        path = _parameter.sub(r"{\1}", one.path)
        for method in sorted((one.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(one, method, found, schemas, () if is_open(one.path) else work.guarded)
            same = first.setdefault((one.endpoint, method, (*_parameter.findall(one.path),)), operation["operationId"])
            if same != operation["operationId"]:
                operation["x-same-as"] = same
            paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": work.title,
            "version": version("golek"),
            "description": work.description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": work.server}],
        "tags": [{"name": group} for group in groups],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of the fleet."}},
        },
    }


def _kinds(found: About) -> Iterator[Any]:
    yield from (kind for kind in (found.request, found.reply, found.query) if kind is not None)
    yield from found.others.values()
    yield found.refusal


class _Schemas:
    """The schemas of all types that the document speaks of."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        listed = list({str(kind): kind for kind in kinds}.values())
        schemas, components = msgspec.json.schema_components(listed, ref_template=REF)
        for one in _structs(listed):
            _say_what_fields_mean(one, components)
        self.components = {_short(name): _renamed(one) for name, one in components.items()}
        """By the names of their structs."""
        self._schemas: dict[str, dict[str, Any]] = dict(zip(map(str, listed), map(_renamed, schemas), strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of `kind`, where it is a struct a reference to it."""
        return self._schemas[str(kind)]


def _say_what_fields_mean(kind: type[Struct], components: dict[str, Any]) -> None:
    component = components.get(kind.__name__) or components.get(f"{kind.__module__}.{kind.__qualname__}", {})
    said = field_sentences(Params) | field_sentences(kind)  # how a text is drawn is said alike everywhere
    for one in msgspec.structs.fields(kind):
        if one.name in said and one.encode_name in component.get("properties", {}):
            component["properties"][one.encode_name]["description"] = said[one.name]


def _short(name: str) -> str:
    """`golek_wire.sessions.Turn`, as msgspec writes it where two structs have one name, is `SessionsTurn`."""
    *_, module, own = ("", *name.split("."))
    return f"{module.title().replace('_', '')}{own}"


def _renamed(schema: Any) -> Any:
    """`schema` with its references by short names."""
    if isinstance(schema, list):
        return [_renamed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    start = REF.format(name="")
    return {
        key: start + _short(one.removeprefix(start)) if key == "$ref" and isinstance(one, str) else _renamed(one)
        for key, one in schema.items()
    }


def _structs(kinds: list[Any]) -> set[type[Struct]]:
    """Every struct that `kinds` are made of."""
    found: set[type[Struct]] = set()

    def look(one: Any) -> None:
        if isinstance(one, types.StructType):
            if one.cls not in found:
                found.add(one.cls)
                for each in one.fields:
                    look(each.type)
            return
        for name in ("types", "item_types"):
            for each in getattr(one, name, ()):
                look(each)
        for name in ("type", "item_type", "value_type", "key_type"):
            if isinstance(getattr(one, name, None), types.Type):
                look(getattr(one, name))

    for each in types.multi_type_info(kinds):
        look(each)
    return found


@functools.cache
def field_sentences(kind: type[Struct]) -> dict[str, str]:
    """The sentences that stand under the fields of a struct, by the fields' names."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not issubclass(each, Struct) or each is Struct:
            continue
        if (made_of := each.__dict__.get("made_of")) is not None:  # it has no source (golek_wire/openai/sampling.py)
            found |= field_sentences(made_of)
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for pair in zip(body.body, body.body[1:], strict=False):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    return found


def _operation(one: Route, method: str, found: About, schemas: _Schemas, guarded: tuple[int, ...]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^a-z0-9]+', '_', one.path.lower()).rstrip('_') or '_page'}",
        "tags": [found.group],
        "summary": found.summary,
        "responses": _responses(found, schemas, guarded),
        "security": [{"key": []}] if guarded else [],
    }
    parameters = [*_in_path(one.path), *_in_query(found.query)]
    for parameter in parameters:
        if parameter["name"] in (values := VALUES | dict(found.values)):
            parameter["example"] = values[parameter["name"]]
    if parameters:
        operation["parameters"] = parameters
    if found.request is not None:
        content: dict[str, Any] = {"schema": schemas.of(found.request)}
        if found.example is not None and (found.body_needed or "{" not in one.path):  # else the path says it all
            content["example"] = dict(found.example)
        operation["requestBody"] = {"required": found.body_needed, "content": {JSON: content}}
    return operation


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _parameter.findall(path)
    ]


def _in_query(kind: type[Struct] | None) -> list[dict[str, Any]]:
    if kind is None:
        return []
    said = field_sentences(kind)
    return [
        {
            "name": one.encode_name,
            "in": "query",
            "required": one.required,
            "schema": msgspec.json.schema(one.type),
            **({"description": said[one.name]} if one.name in said else {}),
        }
        for one in msgspec.structs.fields(kind)
    ]


def _responses(found: About, schemas: _Schemas, guarded: tuple[int, ...]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if found.reply is not None:
        content[found.media] = {"schema": schemas.of(found.reply)}
    if found.events:
        content[EVENTS] = {"schema": {"description": "Server-sent events."}}
    told: dict[int, dict[str, Any]] = {found.status: {"description": "The answer."}}
    if content:
        told[found.status]["content"] = content
    refusal = {JSON: {"schema": schemas.of(found.refusal)}}
    for status in statuses(found, guarded):
        told[status] = {"description": PROBLEMS[status], "content": refusal}
    for status, kind in found.others.items():
        told[status] = {"description": PROBLEMS.get(status, "Another answer."), "content": _json(schemas, kind)}
    return {str(status): told[status] for status in sorted(told)}


def _json(schemas: _Schemas, kind: Any) -> dict[str, Any]:
    return {JSON: {"schema": schemas.of(kind)}}


def statuses(found: About, guarded: tuple[int, ...]) -> set[int]:
    """The errors that an operation may end in."""
    known = {405, *found.errors, *guarded}
    if found.request is not None:
        known.update(BODY)
    if found.query is not None:
        known.add(400)
    if found.asks:
        known.update(ASKED)
    return known - {found.status}
