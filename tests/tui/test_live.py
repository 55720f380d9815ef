"""The monitor's terminal in a real one (tmux), on a real fleet: a broker and two workers."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tmux
from tests.support.broker import NatsServer
from tests.support.tmux import Terminal
from tests.support.workers import WorkerProcess

pytestmark = [pytest.mark.skipif(not tmux.is_there(), reason="tmux is not installed"), pytest.mark.timeout(120)]
COMMAND = [sys.executable, "-m", "golek_monitor", "tui"]


def terminal(folder: Path, url: str, **options: object) -> Terminal:
    """The monitor in a terminal."""
    return Terminal(COMMAND, folder, NATS_URL=url, GOLEK_DATA=folder / "data", PYTHONPATH=Path.cwd(), **options)  # type: ignore[arg-type]


def row(text: str, replica: str) -> str:
    """The line of a worker."""
    return next((line for line in text.splitlines() if f"{replica} " in line), "")


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """Two workers of one model."""
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data, replica=1) as one, WorkerProcess(nats_server, data, replica=2) as two:
        yield one, two


def test_a_worker_that_is_killed_is_seen_to_be_lost(
    fleet: tuple[WorkerProcess, WorkerProcess], nats_server: str, tmp_path: Path
) -> None:
    """Two workers appear by themselves; one is killed, and its row says so while the other's stays as it was."""
    name = f"echo-{os.uname().nodename}"
    with terminal(tmp_path, nats_server) as screen:
        screen.wait_for(lambda text: "online" in row(text, f"{name}-1") and "online" in row(text, f"{name}-2"))
        fleet[1].kill()
        text = screen.wait_for(lambda text: "lost" in row(text, f"{name}-2"), patience_s=40)
        assert "online" in row(text, f"{name}-1")
        screen.press("6")
        screen.wait_for(f"{name}-2")
        screen.press("q")
        assert screen.status() == 0


def test_a_worker_is_drained_from_its_page(
    fleet: tuple[WorkerProcess, WorkerProcess], nats_server: str, tmp_path: Path
) -> None:
    """Its page says what it is and was set to; after a yes it ends in order, and the terminal says that it did."""
    name = f"echo-{os.uname().nodename}"
    with terminal(tmp_path, nats_server, size=(120, 40)) as screen:
        screen.wait_for(lambda text: "online" in row(text, f"{name}-2"))
        screen.write("/")
        screen.write(f"{name}-2")
        screen.wait_for(lambda text: "1 of 2 workers" in text and "s Sort" not in text)
        screen.press("Enter")
        screen.wait_for("s Sort")
        screen.press("Enter")
        screen.wait_for("echo on")
        screen.wait_for("NATS_URL=")
        screen.press("d")
        screen.wait_for("takes no more requests")
        screen.press("y")
        screen.wait_for(f"✓ {name}-2: offline")
        assert fleet[1].process is not None
        assert fleet[1].process.wait(timeout=20) == 0


def test_a_broker_that_goes_and_comes_is_seen_and_heard_again(
    fleet: tuple[WorkerProcess, WorkerProcess], broker: NatsServer, tmp_path: Path
) -> None:
    """While it is away the screen says so; afterwards it is as before without anybody's doing."""
    with terminal(tmp_path, broker.url) as screen:
        screen.wait_for("2 workers")
        broker.stop()
        screen.wait_for("NO BUS for")
        broker.start()
        text = screen.wait_for(lambda text: "NO BUS" not in text and "workers 2/2" in text, patience_s=30)
        assert "2 workers" in text


def test_it_comes_up_before_there_is_a_broker(broker: NatsServer, tmp_path: Path) -> None:
    """It waits for it, and says whom it cannot reach."""
    url = broker.url
    broker.stop()
    with terminal(tmp_path, url) as screen:
        screen.wait_for("NO BUS for")
        screen.wait_for("No worker was heard yet")
        broker.start()
        screen.wait_for(lambda text: "NO BUS" not in text, patience_s=30)


def test_a_wrong_login_is_a_sentence_and_status_3(tmp_path: Path) -> None:
    """No screen comes up: what is wrong stands in the terminal, with the settings that say who logs in."""
    locked = NatsServer(tmp_path, "authorization: {user: boss, password: secret}").start()
    try:
        with terminal(tmp_path, locked.url, size=(200, 24)) as screen:
            assert screen.status() == 3
            text = screen.wait_for("NATS_USER and NATS_PASSWORD")
            assert "refuses" in text
    finally:
        locked.stop()


@pytest.mark.parametrize("term", ["xterm", "screen", "tmux-256color"])
def test_terminals_of_all_kinds_show_it(nats_server: str, tmp_path: Path, term: str) -> None:
    """Also those with few colours."""
    with terminal(tmp_path, nats_server, term=term) as screen:
        screen.wait_for("No worker was heard yet")
        screen.resize(60, 15)
        screen.wait_for("Make it larger")
        screen.resize(100, 30)
        screen.wait_for("No worker was heard yet")


def test_a_locale_without_utf_8_gets_ascii(nats_server: str, tmp_path: Path) -> None:
    """By LC_ALL, as over many a serial line."""
    with terminal(tmp_path, nats_server, LC_ALL="C") as screen:
        assert screen.wait_for("No worker was heard yet").isascii()


def test_no_color_means_none(nats_server: str, tmp_path: Path) -> None:
    """NO_COLOR leaves bold, reverse and underlined; no code of a colour is sent."""
    with terminal(tmp_path, nats_server, NO_COLOR="1") as screen:
        screen.wait_for("No worker was heard yet")
        codes = screen.text(colours=True)
        assert "\x1b[38" not in codes
        assert "\x1b[48" not in codes
        assert not any(f"\x1b[{base}{digit}m" in codes for base in (3, 4, 9, 10) for digit in range(8))


def test_without_a_terminal_it_says_what_to_use(nats_server: str, tmp_path: Path) -> None:
    """A pipe cannot be drawn on."""
    with Terminal(["sh", "-c", f"{' '.join(COMMAND)} | cat"], tmp_path) as screen:
        screen.wait_for("golek monitor status")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_is_left_as_it_was(nats_server: str, tmp_path: Path, number: signal.Signals) -> None:
    """Whoever ends the program from elsewhere leaves no screen behind, and no mouse that writes letters."""
    with terminal(tmp_path, nats_server) as screen:
        screen.wait_for("No worker was heard yet")
        screen.interrupt(number)
        assert screen.status() == 128 + number
        assert screen.modes() == "0 0 1"


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    """Also where nobody tells it by SIGHUP that the terminal is gone."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "NATS_URL": "nats://127.0.0.1:1", "GOLEK_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "golek_monitor", "tui"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while b"NO BUS" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        try:
            process.wait(20)
        finally:
            process.kill()
