"""The monitor's OpenAPI document says what its routes do."""

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from golek_client import Golek
from golek_monitor.logs.explorer import Explorer
from golek_monitor.web import app, requests
from golek_program.web.described import about
from tests.support import fleets, sample_monitor

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPECTED = ["2xx", "3xx", "4xx", "503", "504"]
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
    (tmp_path / "schemathesis.toml").write_text(f"[checks.not_a_server_error]\nexpected-statuses = {EXPECTED}\n")
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    async with Golek(nats_server, deadline=3) as golek:
        more = requests.routes(Explorer(tmp_path), golek)
        async with sample_monitor.serving(fleets.picture(5), golek=golek, more=more) as url:
            process = await asyncio.create_subprocess_exec(
                program, "run", f"{url}/openapi.json",
                "--checks", CHECKS, "--max-examples", "5", "--phases", "examples,coverage,fuzzing",
                "--exclude-path", "/api/events", "--request-timeout", "30", "--generation-deterministic", "--no-color",
                cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            try:
                said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    assert process.returncode == 0, said.decode()[-6000:]
