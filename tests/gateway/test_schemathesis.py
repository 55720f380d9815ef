"""What is documented is so: schemathesis asks whatever the document allows, and what it does not."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPECTED = ["2xx", "3xx", "4xx", "503", "504"]
"""Nobody there, or too late: what a fleet may say of what was asked rightly."""
PATIENCE_S = 150


@pytest.fixture
def gateway(fleet: Fleet, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway beside echo, which answers whatever it is asked at once."""
    with (
        WorkerProcess(fleet.nats, tmp_path, "echo", HTTP_ADDR=""),
        GatewayProcess(fleet.nats, tmp_path, INFERENCE_REQUEST_TIMEOUT=3) as made,
    ):
        yield made


@pytest.mark.timeout(PATIENCE_S + 30)
async def test_answers_are_those_of_the_document(gateway: GatewayProcess, tmp_path: Path) -> None:
    """No status, no body and no media type that the document does not have, and no 500, whatever is asked.

    Models are not unloaded: other tests ask them.
    """
    (tmp_path / "schemathesis.toml").write_text(f"[checks.not_a_server_error]\nexpected-statuses = {EXPECTED}\n")
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, "run", f"{gateway.url}/openapi.json",
        "--checks", CHECKS, "--max-examples", "12", "--phases", "examples,coverage,fuzzing",
        "--exclude-path-regex", "unload", "--request-timeout", "30", "--generation-deterministic", "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-6000:]
