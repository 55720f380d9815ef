"""The monitor's OpenAPI document says what its routes do."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from golek_client import Golek
from golek_monitor.logs.explorer import Explorer
from golek_monitor.web import app, requests
from golek_program.web.described import about
from tests.support import conformance, fleets, sample_monitor

PATIENCE_S = 100


@pytest.fixture
async def document(web: httpx2.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await web.get("/openapi.json")).json()
    return found


def test_every_route_says_what_it_does() -> None:
    """One without a description would be missing from the document."""
    routes = [one for one in app.routes_of() if isinstance(one, Route)]
    assert len(routes) > 20
    assert [one.path for one in routes if about(one.endpoint) is None] == []


async def test_the_document_has_all_routes_and_names_of_their_own(document: dict[str, Any]) -> None:
    """Programs that are generated from it have a function for each; no schema speaks of one that is missing."""
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names)) == len([one for one in app.routes_of() if isinstance(one, Route)])
    referred = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert referred <= set(document["components"]["schemas"])


async def test_what_is_told_to_strangers_is_said(document: dict[str, Any]) -> None:
    """A route without a lock in the document tells nothing of the fleet."""
    opened = {
        path for path, item in document["paths"].items() for operation in item.values() if not operation["security"]
    }
    assert opened == {
        "/", "/favicon.ico", "/static/{name}", "/healthz", "/health/ready", "/openapi.json",
        "/api/access", "/api/login", "/api/logout",
    }  # fmt: skip


@pytest.mark.timeout(PATIENCE_S + 30)
async def test_answers_are_those_of_the_document(nats_server: str, tmp_path: Path) -> None:
    """No status, body or media type that the document does not have, and no 500, whatever is asked."""
    async with Golek(nats_server, deadline=3) as golek:
        more = requests.routes(Explorer(tmp_path), golek)
        async with sample_monitor.serving(fleets.picture(5), golek=golek, more=more) as url:
            await conformance.check(url, tmp_path, PATIENCE_S, "--max-examples", "5", "--exclude-path", "/api/events")
