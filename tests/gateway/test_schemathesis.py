"""What is documented is so: schemathesis asks whatever the document allows, and what it does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import conformance
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

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
    await conformance.check(gateway.url, tmp_path, PATIENCE_S, "--max-examples", "12", "--exclude-path-regex", "unload")
