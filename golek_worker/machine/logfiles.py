"""Where do a worker's logs lie on disk?

A file for each start: `logs/_boot/<YYYYMMDD_HHMMSS>_boot_<host>.log` is a worker's own log,
`logs/llama-<WORKER_TYPE>/<YYYYMMDD_HHMMSS>_server_<host>.log` what its engine writes to stderr. `logs/gateway/` and
`logs/monitor/` have those of gateway and monitor; times are UTC. In each folder `latest.txt` points to the newest file.
The newest 20 files are kept, and older ones that are still written to.
"""

import contextlib
import fcntl
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from golek_worker import process

KEPT = 20
LATEST = "latest.txt"
HEAD_BYTES = 64 * 1024
"""In its first lines a file says whose it is."""

_NAME = re.compile(r"(\d{8}_\d{6})_(?:boot|server)_.+\.log")

Kind = Literal["boot", "server"]


def boot_folder(data: Path) -> Path:
    """Where the workers' own logs lie."""
    return data / "logs" / "_boot"


def service_folder(data: Path, name: str) -> Path:
    """Where the own logs of the gateway or the monitor lie."""
    return data / "logs" / name


def engine_folder(data: Path, worker_type: str) -> Path:
    """Where the logs of the engines of this type lie."""
    return data / "logs" / f"llama-{_safe(worker_type)}"


def create(folder: Path, kind: Kind, now: datetime | None = None) -> Path:
    """A new, empty file that `latest.txt` points to. Files that are too many are deleted. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{now or datetime.now(UTC):%Y%m%d_%H%M%S}_{kind}_{_safe(socket.gethostname())}"
    number = 1
    while True:
        path = folder / (f"{stem}.log" if number == 1 else f"{stem}-{number}.log")
        try:
            path.open("xb").close()
        except FileExistsError:
            number += 1
        else:
            break
    _point(folder / LATEST, path.name)
    _delete_old(folder)
    return path


def open_to_write(path: Path) -> BinaryIO:
    """`path`, to be appended to without a buffer. While it is open, nobody deletes it as too old."""
    file = path.open("ab", buffering=0)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def newest_of(folder: Path, worker_id: re.Pattern[str]) -> Path | None:
    """The newest file of a worker whose id matches; None when there is none."""
    whose = re.compile(rf'worker_id(?:": "|=)(?:{worker_id.pattern})(?![\w-])')
    for path in reversed(_files(folder)):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if whose.search(file.read(HEAD_BYTES).decode("utf-8", "replace")):
                return path
    return None


class EngineLog:
    """The file that takes what an engine says, each line with its time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_to_write(path)

    def write(self, line: str) -> None:
        """Add a line. A full disk must not stop the worker, which keeps warnings and errors of its engine itself."""
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        with contextlib.suppress(OSError):
            self._file.write(f"{time}Z {line}\n".encode())

    def close(self) -> None:
        self._file.close()


def _safe(name: str) -> str:
    """`name` as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _point(latest: Path, name: str) -> None:
    """Make `latest` a relative link to `name`, or where there are no links a file that names it."""
    link = latest.with_name(f".{latest.name}.{name}")  # as unique as the file itself
    try:
        link.symlink_to(name)
    except OSError:
        process.write_atomically(latest, f"{name}\n".encode())
    else:
        link.replace(latest)


def _files(folder: Path) -> list[Path]:
    """The log files of `folder`, the oldest first."""
    found: list[tuple[str, int, Path]] = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):
                found.append((match[1], path.stat().st_mtime_ns, path))
    return [path for *_, path in sorted(found)]


def _delete_old(folder: Path) -> None:
    for path in _files(folder)[:-KEPT]:
        with contextlib.suppress(OSError), _unused(path):
            path.unlink()


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Raises BlockingIOError when a process has `path` open to write."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
