"""Write docs/API.md and docs/monitor-api.md from the OpenAPI documents of the gateway and of the monitor.

    python scripts/write_api_docs.py

They say nothing that the documents do not say, in a form for people: one heading per operation, a curl line to begin
with, the fields it takes, what it answers; the types that several use stand once, at the end.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp

from golek_client import Golek
from golek_monitor.logs.explorer import Explorer
from golek_monitor.picture import Picture
from golek_monitor.web import app as monitor
from golek_monitor.web import requests
from golek_program.settings.http import Http
from golek_wire.errors import STATUS
from golek_worker.front import Ring
from golek_worker.gateway.app import application
from golek_worker.gateway.door import Door

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
HEAD: Final = """# The API over HTTP

Written by `python scripts/write_api_docs.py` from what the routes say of themselves; `GET /openapi.json` is the same
for programs, and `/docs` the same in a browser, where each route can be tried. {version}

- The fleet's gateway listens on port 8000; a worker serves its own model on its `HTTP_ADDR`, with the same routes.
- A key goes as `authorization: Bearer <key>` or as `x-api-key: <key>`. Where the fleet knows no keys, nobody needs one.
- Fields that nobody knows are ignored; a wrong one is refused with its name in `error.param`.
- Every answer has `x-request-id` and `openai-processing-ms`; those of a model `x-golek-job`, `x-golek-worker` and,
  for keys with limits, `x-ratelimit-…`. Where a router chose who answers, `x-golek-route`, `-strategy`, `-reason` and
  `-chain`, `x-golek-queue-ms` and `x-golek-cost-usd` say how; a body, or a stream's last event but `[DONE]`, has it as
  `route` ([router](router.md#explain)). Where several models answered together, `x-golek-orchestration`,
  `orchestration` and `inference_metadata` do ([orchestration](orchestration.md#over-http)).
- A client that leaves cancels its job.
- Who sends `anthropic-version`, or asks below `/v1/messages`, gets errors and lists of models in Anthropic's form.
- `/` is a page to talk to a model, with tools, parameters and the JSON of each request:

![The page, dark, with a tool's call](chat-dark.png)

![The page on a phone](chat-phone.png)

## Errors

```json
{{"error": {{"code": "QUEUE_FULL", "message": "…", "type": "retriable", "provider": "golek", "param": null,
 "details": {{"retry_after_ms": 800}}}}}}
```

`type` is `retriable` or `non_retriable`. With status 429 and 503 the headers `retry-after` and `retry-after-ms` say
when to come again; `x-should-retry: false` keeps OpenAI's and Anthropic's clients from repeating by themselves what
is `non_retriable`. With `GOLEK_STRICT_OPENAI=1` OpenAI's own words stand there instead, and a `finish_reason` that
OpenAI does not have (`partial`) is `length`.

| status | codes |
|---|---|
{codes}
"""
MONITOR_HEAD: Final = """# The monitor over HTTP

Written by `python scripts/write_api_docs.py` from what the routes say of themselves; `GET /openapi.json` is the same
for programs. What it is for, and who may do what, stands in [monitor.md](monitor.md#over-http). {version}

- The monitor listens on port 5780 (`MONITOR_ADDR`).
- With `MONITOR_KEY` orders want `authorization: Bearer <key>`; where `MONITOR_ADDR` is an address that other
  machines reach everything does, also from this one. Without one nobody needs it: leave the header out.
- Fields that are not known are absent; a zero that is known is there. Times are RFC 3339 in UTC, durations name
  their unit.
- Lists are made about once a second, for all who ask.

## Errors

```json
{{"error": {{"code": "MODEL_NOT_FOUND", "message": "…", "type": "non_retriable", "provider": "golek", "param": null,
 "details": {{"did_you_mean": "qwen3-4b"}}}}}}
```

| status | codes |
|---|---|
{codes}
"""


class Book(NamedTuple):
    """One of the pages."""

    page: Path
    address: str
    """Where the lines to try ask."""
    head: str
    key: str
    """The variable of a shell with a key."""
    codes: tuple[tuple[int, str], ...] = ()
    """Codes that are of HTTP alone, besides those that both have."""


GATEWAY: Final = Book(DOCS / "API.md", "http://127.0.0.1:8000", HEAD, "GOLEK_KEY")
MONITOR: Final = Book(
    DOCS / "monitor-api.md", "http://127.0.0.1:5780", MONITOR_HEAD, "MONITOR_KEY", ((415, "UNSUPPORTED_MEDIA_TYPE"),)
)


async def openapi() -> dict[str, Any]:
    """What GET /openapi.json of a gateway answers; nobody is asked for it on a bus."""
    golek = Golek("nats://127.0.0.1:1")
    try:
        return await _said(application(Door(golek, Http(), Ring(None))))
    finally:
        await golek.close()


async def monitor_openapi() -> dict[str, Any]:
    """What GET /openapi.json of a monitor answers."""
    return await _said(monitor.application(Picture(), more=requests.routes(Explorer(Path()), None)))


async def _said(app: ASGIApp) -> dict[str, Any]:
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "GET", "path": "/openapi.json", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    found: dict[str, Any] = json.loads(b"".join(message.get("body", b"") for message in said))
    return found


def written(document: dict[str, Any], book: Book = GATEWAY) -> str:
    """The page of `document`."""
    also: dict[str, list[str]] = {}
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "x-same-as" in operation:
                also.setdefault(operation["x-same-as"], []).append(path)
            else:
                groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    schemas = document["components"]["schemas"]
    lines = [book.head.format(version=f"Version {document['info']['version']}.", codes="\n".join(_codes(book)))]
    for group, operations in groups.items():
        lines.append(f"## {group}\n")
        for method, path, operation in operations:
            lines += _operation(book, method, path, operation, also.get(operation["operationId"], []))
    lines.append("## Types\n")
    for name in sorted(schemas, key=str.lower):
        lines += _struct(name, schemas)
    return "\n".join(lines).rstrip() + "\n"


def _codes(book: Book) -> Iterator[str]:
    by_status: dict[int, list[str]] = {}
    for code, status in STATUS.items():
        by_status.setdefault(status.http, []).append(f"`{code}`")
    by_status.setdefault(405, []).append("`METHOD_NOT_ALLOWED`")
    by_status.setdefault(408, []).append("`REQUEST_TIMEOUT`")
    for status, code in book.codes:
        by_status.setdefault(status, []).append(f"`{code}`")
    for status in sorted(by_status):
        yield f"| {status} | {', '.join(by_status[status])} |"


def _operation(book: Book, method: str, path: str, operation: dict[str, Any], also: list[str]) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{operation['summary']}{' No key needed.' if not operation['security'] else ''}\n"
    if also:
        yield f"Also at {', '.join(f'`{one}`' for one in also)}.\n"
    yield from _curl(book, method, path, operation)
    parameters = [
        (one["name"], one["schema"], f"In the {one['in']}. {one.get('description', '')}".strip(), one["required"])
        for one in operation.get("parameters", [])
    ]
    yield from _table(parameters)
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        yield f"Takes {_type(body)}.\n"
    yield from _answers(operation["responses"])


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    refused = []
    for status, response in responses.items():
        content = response.get("content", {})
        own = [_type(one["schema"]) for media, one in content.items() if media == "application/json"]
        media = [f"`{name}`" for name in content if name != "application/json"]
        if int(status) < 300:
            yield f"Answers {status}{' with ' if own or media else ''}{' or '.join([*own, *media])}.\n"
        elif own == ["[Refusal](#refusal)"]:
            refused.append(status)
        else:
            yield f"Answers {status} with {' or '.join([*own, *media])}: {response['description']}\n"
    if refused:
        yield f"Errors: {', '.join(refused)}.\n"


def _curl(book: Book, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    words = [
        "curl" if method == "GET" else f"curl -X {method}",
        f"'{url}'" if "?" in (url := _url(book, path, operation)) else url,
    ]
    if operation["security"]:
        words.append(f'-H "authorization: Bearer ${book.key}"')
    yield "```bash"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in body:
        words.append("-H 'content-type: application/json'")
        yield " ".join(words) + " \\"
        example = json.dumps(body["example"], ensure_ascii=False).replace("'", "'\\''")
        yield f"    -d '{example}'"
    else:
        yield " ".join(words)
    yield "```\n"


def _url(book: Book, path: str, operation: dict[str, Any]) -> str:
    """The address with values to try; without one a name in capitals stands there."""
    query = {}
    for one in operation.get("parameters", []):
        name, value = one["name"], one.get("example", one["name"].upper())
        if one["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(value))
        elif "example" in one:
            query[name] = value
    return f"{book.address}{path}{'?' if query else ''}{urlencode(query, quote_via=quote)}"


def _struct(name: str, schemas: dict[str, Any]) -> Iterator[str]:
    schema = schemas[name]
    yield f"### {name}\n"
    if schema.get("description"):
        yield f"{' '.join(schema['description'].split())}\n"
    required = set(schema.get("required", ()))
    fields = schema.get("properties", {})
    order = sorted(fields, key=lambda one: one not in required)
    yield from _table([(one, fields[one], fields[one].get("description", ""), one in required) for one in order])


def _table(rows: list[tuple[str, dict[str, Any], str, bool]]) -> Iterator[str]:
    if not rows:
        return
    yield "| field | type | |"
    yield "|---|---|---|"
    for name, schema, words, required in rows:
        told = f"{'**Required.** ' if required else ''}{words}".replace("|", "\\|")
        yield f"| `{name}` | {_type(schema)} | {told} |"
    yield ""


def _type(schema: dict[str, Any]) -> str:
    """In a few words, which values there may be."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    limits = {"minimum": "≥ {}", "maximum": "≤ {}", "minLength": "≥ {} characters", "maxLength": "≤ {} characters"}
    told = [words.format(schema[name]) for name, words in limits.items() if name in schema]
    limited = f" ({', '.join(told)})" if told else ""
    return f"{schema.get('type', 'anything')}{limited}"


def main() -> None:
    """Write the pages."""
    for book, document in ((GATEWAY, openapi()), (MONITOR, monitor_openapi())):
        book.page.write_text(written(asyncio.run(document), book), "utf-8")


if __name__ == "__main__":
    main()
