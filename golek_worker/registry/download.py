"""How is a model's file downloaded, so that half a file is never found and no byte is fetched twice?

    python -m golek_worker.registry.download SOURCE TARGET [--sha256 HEX]

A process of its own: it writes its reports to stdout as JSON lines and ends with its parent. The bytes go to
`.<name>.<etag>.part` beside the target; after a kill the next run goes on behind the last byte. Size and SHA-256 are
verified on the disk, then the part is renamed. Two processes with one target: the second waits for the first.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from golek_worker.orphan import die_with_parent
from golek_worker.registry import hub, source
from golek_worker.registry.hub import BrokenOffError, HubFile, RangeIgnoredError
from golek_worker.registry.report import Downloaded, DownloadError, Failed, Progress, Report, Stage
from golek_worker.registry.source import Source

MARGIN = 256 * 1024 * 1024
"""Bytes that stay free on the disk: the broker's store and the logs want to live, too."""
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before asking again, when a connection brought nothing; one that brought something counts as the first."""
REPORT_S = 0.2
LOCK_POLL_S = 0.1
HASH_CHUNK = 4 * 1024 * 1024

Tell = Callable[[Progress], None]


class _Piece(NamedTuple):
    """One file of a model on its way."""

    file: HubFile
    target: Path
    part: Path

    @property
    def have(self) -> int:
        """Bytes of it on the disk."""
        return self.file.size if self.target.is_file() else _size(self.part)


def download(place: Source, target: Path, sha256: str | None, tell: Tell) -> Downloaded:
    """Have the model of `place` at `target`, all its files when it is split.

    `sha256` is what a single file must have; None takes the hub's word.

    Raises DownloadError; what was fetched so far then stays for the next time, unless it is wrong.
    """
    began = time.monotonic()
    pieces = [_piece(one, its) for one, its in zip(place.files(), place.targets(target), strict=True)]
    if sha256 is not None and pieces[0].file.sha256 not in (None, sha256):
        raise DownloadError(
            f"{place}: the hub offers a file with sha256 {pieces[0].file.sha256}, wanted is {sha256}. It was replaced, "
            "or MODEL_SHA256 or the catalogue is wrong; nothing was downloaded"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    telling = _Telling(tell, sum(piece.file.size for piece in pieces))
    fetched, checked = 0, "by the process that downloaded it"
    with _alone(target, lambda: telling("waiting", sum(piece.have for piece in pieces))):
        missing = [piece for piece in pieces if not piece.target.is_file()]
        _ensure_room(missing, target.parent)
        for piece in missing:
            _forget_others(piece)
            telling.before = sum(earlier.file.size for earlier in pieces[: pieces.index(piece)])
            fetched += _fetch(piece.file, piece.part, telling)
            checked = _verify(piece.file, piece.part, sha256 or piece.file.sha256, telling)
        for piece in reversed(missing):  # the first file is what a search looks for
            piece.part.replace(piece.target)
    return Downloaded(str(pieces[0].target), telling.total, fetched, time.monotonic() - began, checked)


def _piece(place: Source, target: Path) -> _Piece:
    file = hub.describe(place)
    version = re.sub(r"\W", "_", file.etag[:16])  # a mirror may write what it likes
    return _Piece(file, target, target.with_name(f".{target.name}.{version}.part"))


class _Telling:
    """Passes progress on, not more often than `REPORT_S`, and always at the beginning and the end of a stage."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self.total = total
        self.before = 0
        """Bytes of the files before the one at hand."""
        self._stage: Stage | None = None
        self._due = 0.0

    def __call__(self, stage: Stage, done: int) -> None:
        now = time.monotonic()
        done += self.before
        if stage != self._stage or now >= self._due or done >= self.total:
            self._stage, self._due = stage, now + REPORT_S
            self._tell(Progress(stage, done, self.total))


def _ensure_room(missing: list[_Piece], folder: Path) -> None:
    if not missing:
        return
    wanted = sum(piece.file.size - piece.have for piece in missing)
    free = shutil.disk_usage(folder).free
    if wanted + MARGIN > free:
        raise DownloadError(
            f"{missing[0].file.source}: {wanted:,} bytes are still to come and {MARGIN:,} are to stay free, but "
            f"{folder} has {free:,} free. Make room, or put the model on another disk with MODEL_PATH or GOLEK_DATA"
        )


def _fetch(file: HubFile, part: Path, telling: _Telling) -> int:
    """Bring `part` to its full size; the bytes fetched for that."""
    fetched = fruitless = 0
    with part.open("ab") as output:
        while (have := output.tell()) < file.size:
            telling("downloading", have)
            try:
                for chunk in hub.read(file, have):
                    output.write(chunk)
                    fetched += len(chunk)
                    telling("downloading", output.tell())
                problem = "the server ended early"
            except RangeIgnoredError:
                problem = "the server does not go on where a download ended"
                output.truncate(0)
                output.seek(0)
            except BrokenOffError as error:
                problem = str(error)
            fruitless = 0 if output.tell() > have else fruitless + 1
            if output.tell() < file.size:
                if fruitless > len(WAITS_S):
                    raise DownloadError(
                        f"{file.source}: broke off at {output.tell():,} of {file.size:,} bytes ({problem}). What is "
                        "there stays, and the next start goes on from it"
                    )
                output.flush()
                time.sleep(WAITS_S[max(0, fruitless - 1)])
        os.fsync(output.fileno())
    return fetched


def _verify(file: HubFile, part: Path, sha256: str | None, telling: _Telling) -> str:
    """What was verified. A file that is wrong is deleted. Raises DownloadError."""
    size = _size(part)
    if size != file.size:
        part.unlink()
        raise DownloadError(f"{file.source}: {size:,} bytes came, the hub said {file.size:,}; they were deleted")
    if sha256 is None:
        return "the size; nobody gave a sha256"
    digest = hashlib.sha256()
    with part.open("rb") as content:
        while chunk := content.read(HASH_CHUNK):
            digest.update(chunk)
            telling("verifying", content.tell())
    if digest.hexdigest() != sha256:
        part.unlink()
        raise DownloadError(
            f"{file.source}: the downloaded file has sha256 {digest.hexdigest()}, wanted is {sha256}; it was deleted. "
            "It was damaged on its way, or MODEL_SHA256 is wrong"
        )
    return f"sha256 {sha256}"


@contextlib.contextmanager
def _alone(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time downloads to `target`; the lock goes with the process that holds it."""
    with target.with_name(f".{target.name}.lock").open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(LOCK_POLL_S)
        yield


def _forget_others(piece: _Piece) -> None:
    """Delete what was begun of another version of the file."""
    for other in piece.target.parent.glob(f".{piece.target.name}.*.part"):
        if other != piece.part:
            other.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def main() -> int:
    """Download, reporting on stdout; the exit status is 0 when the file is there."""
    die_with_parent()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # ask the hub for the file and for nothing else
    parser = argparse.ArgumentParser(prog="golek_worker.registry.download", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="hf:<owner>/<repository>/<file>[@<revision>]")
    parser.add_argument("target", type=Path, help="where the file shall lie")
    parser.add_argument("--sha256", help="what it must have")
    arguments = parser.parse_args()
    try:
        _say(download(source.parse(arguments.source), arguments.target, arguments.sha256, _say))
    except DownloadError as error:
        _say(Failed(str(error)))
        return 1
    except OSError as error:
        _say(Failed(f"{arguments.target}: {error.strerror or error}"))
        return 1
    return 0


def _say(report: Report) -> None:
    """One line; when nobody reads any more, there is nobody to download for."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
