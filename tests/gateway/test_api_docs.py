"""What is said of the API: the document, the page for people, and that both say all."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route, Router

from golek_client import Golek
from golek_program.settings.http import Http
from golek_program.web.described import about
from golek_worker.front import Ring
from golek_worker.gateway.app import application
from golek_worker.gateway.door import Door
from scripts import write_api_docs
from tests.support.fronts import Fleet


@pytest.fixture
async def document() -> dict[str, Any]:
    return await write_api_docs.openapi()


async def test_every_route_says_what_it_does() -> None:
    """A route without a description would be missing from the document, /docs and docs/API.md: put `describe` on it."""
    golek = Golek("nats://127.0.0.1:1")
    inner: Any = application(Door(golek, Http(), Ring(None)))
    while not isinstance(inner, Router):
        inner = inner._inner
    routes = [route for route in inner.routes if isinstance(route, Route)]
    assert len(routes) > 20
    untold = [route.path for route in routes if about(route.endpoint) is None]
    await golek.close()
    assert untold == []


async def test_the_pages_are_written_from_the_documents(document: dict[str, Any]) -> None:
    """They say what the routes say; `python scripts/write_api_docs.py` writes docs/API.md and the monitor's anew."""
    monitor = await write_api_docs.monitor_openapi()
    for book, said in ((write_api_docs.GATEWAY, document), (write_api_docs.MONITOR, monitor)):
        assert book.page.read_text("utf-8") == write_api_docs.written(said, book)


@pytest.mark.parametrize("book", [write_api_docs.GATEWAY, write_api_docs.MONITOR], ids=lambda book: book.page.name)
def test_links_in_the_pages_lead_to_headings(book: write_api_docs.Book) -> None:
    """Each type that is named has its place."""
    page = book.page.read_text("utf-8")
    headings = {re.sub(r"[^a-z0-9_-]", "", line.lstrip("# ").lower()) for line in page.splitlines() if line[:1] == "#"}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) - headings == set()


def test_a_gateway_and_a_worker_tell_the_same(fleet: Fleet, document: dict[str, Any]) -> None:
    """The document needs no key, and is that of the code."""
    for url in (fleet.gateway, fleet.worker):
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as response:
            assert json.loads(response.read()) == document


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    """Programs that are generated from the document have a function for each."""
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_every_reference_is_there(document: dict[str, Any]) -> None:
    """No schema speaks of one that is missing."""
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


def test_a_line_to_try_can_be_typed_as_it_stands() -> None:
    """Nothing in it is a gap, but for ids that only an answer tells; what needs a body or a query has one."""
    lines = re.findall(r"^curl .*$", Path("docs/API.md").read_text("utf-8"), re.MULTILINE)
    assert lines
    assert [line for line in lines if "{" in line] == []
    gaps = {gap for line in lines for gap in re.findall(r"/([A-Z_]+)\b", line)}
    assert gaps == {"JOB_ID", "RESPONSE_ID"}
    bare = [line for line in lines if re.match("curl -X (POST|PUT)", line) and not line.endswith("\\")]
    assert {"/".join(line.split()[3].split("/")[3:]) for line in bare} == {
        "v1/models/golek-tiny/load", "v1/models/golek-tiny/unload",
    }  # fmt: skip


async def test_an_order_without_a_model_says_what_is_missing(fleet: Fleet) -> None:
    """And how it is given."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        error = (await client.post("/v1/models/load")).json()["error"]
    assert error["message"].startswith('model: is missing; as {"model": "golek-tiny"}')
