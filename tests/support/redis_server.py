"""A real Redis server, for tests of what may lie in one."""

import shutil
import subprocess
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.support.ports import free_port


class RedisServer:
    """A Redis server of this machine."""

    def __init__(self, folder: Path) -> None:
        self.program = shutil.which("redis-server") or ""
        if not self.program:
            pytest.skip("no redis-server is installed")
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.process = subprocess.Popen([self.program, *place, "--save", ""], stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.02), 250)) as client:
            client.ping()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)
