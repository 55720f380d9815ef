"""How is a model's file downloaded, so that half a file is never found and no byte is fetched twice?

    python -m golek_worker.registry.download SOURCE TARGET [--sha256 HEX [--named-by WHO]] [--again]

A process of its own: it writes its reports to stdout as JSON lines and ends with its parent. The bytes go to
`.<name>.<version>.part` beside the target; after a kill the next run goes on behind the last byte of the same version.
Size and SHA-256 are verified on the disk, then the part is renamed. Two processes with one target: the second waits
for the first.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from golek_worker.gguf import GGUFError, read_header
from golek_worker.orphan import die_with_parent
from golek_worker.registry import local, origin, remote, source
from golek_worker.registry.remote import BrokenOffError, ChangedError, RangeIgnoredError, Remote
from golek_worker.registry.report import Downloaded, DownloadError, Failed, Progress, Report, Stage
from golek_worker.registry.source import FileSource, RepoSource, Source, SourceError

MARGIN = 256 * 1024 * 1024
"""Bytes that stay free on the disk: the broker's store and the logs want to live, too."""
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before asking again, when a connection brought nothing; one that brought something counts as the first."""
REPORT_S = 0.2
LOCK_POLL_S = 0.1
UNVERSIONED = "unversioned"
"""Stands in the name of a part of which nothing tells whether the file at its source is still the same."""
CHANGES = 3
"""So often a download begins anew because another file came into its place meanwhile."""

Tell = Callable[[Progress], None]


class _Piece(NamedTuple):
    """One file of a model on its way."""

    file: Remote
    target: Path
    part: Path
    version: str
    """What `part` is the beginning of; empty when nothing tells whether it still is."""
    named_by: str
    """Who says which SHA-256 it must have."""

    @property
    def have(self) -> int:
        """Bytes of it on the disk that need not come again."""
        return _size(self.part) if self.version else 0


def download(
    place: Source, target: Path, sha256: str | None, tell: Tell, *, named_by: str = "MODEL_SHA256", again: bool = False
) -> Downloaded:
    """Have the model of `place` at `target`, all its files when it is split; with `again` also when it is there.

    `sha256` is what a single file must have, as `named_by` says; None takes the word of the place.

    Raises DownloadError; what was fetched so far then stays for the next time, unless it is wrong.
    """
    for _ in range(CHANGES):
        with contextlib.suppress(ChangedError):
            return _once(place, target, sha256, tell, named_by, again=again)
    raise DownloadError(
        f"{place}: the file there was replaced {CHANGES} times while it was downloaded; try again later"
    )


def _once(place: Source, target: Path, sha256: str | None, tell: Tell, named_by: str, *, again: bool) -> Downloaded:
    """`download` of what is at `place` now. Raises ChangedError, DownloadError."""
    began = time.monotonic()
    pieces = [_piece(one, its, sha256, named_by) for one, its in remote.files(place, target)]
    telling = _Telling(tell, sum(piece.file.size for piece in pieces))
    fetched, checked = 0, ["by the process that downloaded it"]

    def watch() -> None:
        telling("waiting", sum(piece.file.size if piece.target.is_file() else piece.have for piece in pieces))

    with alone(target, watch):
        missing = pieces if again else [piece for piece in pieces if not piece.target.is_file()]
        for piece in missing:
            piece.part.parent.mkdir(parents=True, exist_ok=True)
            _forget_others(piece)
        linked = [piece for piece in missing if local.link(piece.file, piece.part)]
        _ensure_room([piece for piece in missing if piece not in linked], target.parent)
        hashes = []
        checked = [] if missing else checked
        for piece in missing:
            telling.before = sum(earlier.file.size for earlier in pieces[: pieces.index(piece)])
            if piece not in linked:
                fetched += _fetch(piece, telling)
            actual, by = _verify(piece, telling)
            hashes.append(actual)
            checked.append(by)
        for piece, actual in reversed(list(zip(missing, hashes, strict=True))):  # the first is what a search looks for
            piece.part.replace(piece.target)
            piece.part.unlink(missing_ok=True)  # rename(2) leaves both names where they were one file already
            origin.write(piece.target, str(piece.file.source), actual, vouched=piece.file.sha256 is not None)
    path = target if isinstance(place, RepoSource) else pieces[0].target
    return Downloaded(str(path), telling.total, fetched, time.monotonic() - began, _told(checked))


def _piece(place: Source, target: Path, sha256: str | None, named_by: str) -> _Piece:
    """What is to be fetched for `target`. Raises DownloadError, also when it cannot be what is wanted."""
    file = remote.describe(place)
    if sha256 is not None and file.sha256 not in (None, sha256):
        raise DownloadError(
            f"{place}: the hub offers a file with sha256 {file.sha256}, but {named_by} says {sha256}. It was "
            f"replaced, or {named_by} is wrong; nothing was downloaded"
        )
    version = file.version or (sha256 or "")[:16]
    part = target.with_name(f".{target.name}.{version or UNVERSIONED}.part")
    known = msgspec.structs.replace(file, sha256=sha256 or file.sha256)
    return _Piece(known, target, part, version, named_by if sha256 else "its source")


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


def _fetch(piece: _Piece, telling: _Telling) -> int:
    """Bring the part to its full size; the bytes fetched for that. Raises ChangedError, DownloadError."""
    file, fetched, fruitless = piece.file, 0, 0
    with piece.part.open("ab") as output:
        furthest = output.tell()
        while True:
            if not piece.version:
                _empty(output)
            if (have := output.tell()) >= file.size:
                break
            telling("downloading", have)
            try:
                for chunk in remote.read(file, have):
                    output.write(chunk)
                    fetched += len(chunk)
                    telling("downloading", output.tell())
                    if output.tell() > file.size:
                        break  # `_verify` tells of it; a server that never ends must not fill the disk
                problem = "the server ended early"
            except RangeIgnoredError:
                problem = "the server does not go on where a download ended"
                _empty(output)
            except BrokenOffError as error:
                problem = str(error)
            if (now := output.tell()) >= file.size:
                break
            fruitless = 0 if now > furthest else fruitless + 1
            furthest = max(now, furthest)
            if fruitless > len(WAITS_S):
                raise DownloadError(
                    f"{file.source}: broke off at {now:,} of {file.size:,} bytes ({problem}). What is "
                    "there stays, and the next start goes on from it"
                )
            output.flush()
            time.sleep(WAITS_S[max(0, fruitless - 1)])
        output.flush()
        os.fsync(output.fileno())
    return fetched


def _empty(output: BinaryIO) -> None:
    """Begin from the beginning."""
    output.seek(0)
    output.truncate()


def _verify(piece: _Piece, telling: _Telling) -> tuple[str, str]:
    """The SHA-256, and what it was held against. A file that is wrong is deleted. Raises DownloadError."""
    file, part = piece.file, piece.part
    size = _size(part)
    if size != file.size:
        part.unlink()
        raise DownloadError(f"{file.source}: {size:,} bytes came, promised were {file.size:,}; they were deleted")
    actual = origin.hash_of(part, lambda done: telling("verifying", done))
    if file.sha256 is None:
        return actual, _verify_otherwise(piece)
    if actual != file.sha256:
        part.unlink()
        raise DownloadError(f"{file.source}: {_another(piece, actual)}")
    return actual, f"sha256 {actual}"


def _verify_otherwise(piece: _Piece) -> str:
    """What a file was held against of which nobody gave a SHA-256. Raises DownloadError."""
    file, part = piece.file, piece.part
    if file.blob is not None:
        name = hashlib.sha1(b"blob %d\0" % file.size + part.read_bytes(), usedforsecurity=False).hexdigest()
        if name != file.blob:
            part.unlink()
            raise DownloadError(f"{file.source}: what came is another file ({name}) than the hub has ({file.blob})")
        return "the hub's hash"
    if piece.target.suffix != ".gguf":
        return "the size; nobody gave a sha256"
    try:
        read_header(part)
    except GGUFError as error:
        part.unlink()
        raise DownloadError(f"{file.source}: {error}; it was deleted") from None
    return "the size, and that it is a GGUF file; nobody gave a sha256"


def _told(checked: list[str]) -> str:
    """What was verified of all files: of several, how many each way."""
    if len(checked) == 1:
        return checked[0]
    ways = Counter(way.partition(" ")[0] if way.startswith("sha256") else way for way in checked)
    return ", ".join(f"{count} files by {way}" for way, count in ways.items())


def _another(piece: _Piece, actual: str) -> str:
    """What is said of a file that has another SHA-256; what came of it is deleted, but not a file of this machine."""
    says = f"has sha256 {actual}, but {piece.named_by} says {piece.file.sha256}"
    if isinstance(piece.file.source, FileSource):
        return f"{says}. It was left as it is and not taken: it is another file, or {piece.named_by} is wrong"
    return f"what came {says}; it was deleted. It was damaged on its way, or {piece.named_by} is wrong"


@contextlib.contextmanager
def alone(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time downloads to `target`, whose folder is made.

    The lock goes with the process that holds it; its file, and a folder made for nothing, go with the block.
    """
    path = target.with_name(f".{target.name}.lock")
    was_there = path.parent.is_dir()
    with _locked(path, waiting):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if not was_there:
                with contextlib.suppress(OSError):  # it holds something
                    path.parent.rmdir()


def _locked(path: Path, waiting: Callable[[], None]) -> BinaryIO:
    """The lock file at `path`, held. One that was deleted while we waited for it is nobody's."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the folder has just gone with a download that failed
            lock = path.open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                waiting()
                time.sleep(LOCK_POLL_S)
                continue
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                return lock
            lock.close()


def begun(target: Path) -> list[Path]:
    """What lies there of downloads to `target`, in one file, several or a folder, that did not end."""
    if target.is_dir():
        return sorted([*target.glob(".*.part"), *target.glob("*/.*.part")])
    names = (f".{target.name}.*.part", f".{target.stem}-?????-of-?????.gguf.*.part")
    return sorted(part for name in names for part in target.parent.glob(name))


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
    parser.add_argument("source", help=f"{source.FORMS}; - reads it from stdin, where no other process sees it")
    parser.add_argument("target", type=Path, help="where the file shall lie")
    parser.add_argument("--sha256", help="what it must have")
    parser.add_argument("--named-by", default="--sha256", help="who says so")
    parser.add_argument("--again", action="store_true", help="also when it is there")
    arguments = parser.parse_args()
    try:
        text = sys.stdin.readline().strip() if arguments.source == "-" else arguments.source
        place = source.parse(text)
        wanted = {"named_by": arguments.named_by, "again": arguments.again}
        _say(download(place, arguments.target, arguments.sha256, _say, **wanted))
    except (DownloadError, SourceError) as error:
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
