"""Fixtures for every folder of tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from golek_worker import settings
from tests.engines.subject import pytest_generate_tests, served
from tests.support.broker import NatsServer
from tests.support.shell import nothing_said

hypothesis.settings.register_profile("golek", deadline=None)  # a loaded machine is no counterexample
hypothesis.settings.load_profile("golek")

__all__ = ["pytest_generate_tests", "served"]
"""Of the contract of engines, which tests of several folders have for theirs."""


def pytest_configure(config: pytest.Config) -> None:
    """The workers that tests start read the project's `.env` as any worker does.

    A shell starts what it runs in the background with SIGINT ignored, and children inherit that: commands under test
    would not hear Ctrl-C.
    """
    if Path(".env").exists():
        raise pytest.UsageError(".env would change what the tests see; move it away while they run")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(*abilities): a behaviour of engines that can all this (tests/engines)")


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer exported would win over the env files that the tests use."""
    for key in settings.KNOWN:
        monkeypatch.delenv(key, raising=False)


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


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The same for all tests of a module, which leave it running. No setting of the shell reaches what starts on it."""
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    with nothing_said():
        yield server
    server.kill()


@pytest.fixture
def nats_server(broker: NatsServer) -> str:
    """The URL of a running nats-server with JetStream."""
    return broker.url
