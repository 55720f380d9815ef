"""Fixtures for every folder of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import NatsServer


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server with JetStream that the test may stop, kill and restart."""
    folder = tmp_path / "nats"
    folder.mkdir()
    server = NatsServer(folder).start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def nats_server(broker: NatsServer) -> str:
    """The URL of a running nats-server with JetStream."""
    return broker.url
