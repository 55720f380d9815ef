"""Does a model's file come whole, whatever happens on its way?

`golek models pull` from three servers on real sockets: a hub, a web server, and a stand-in for S3 (it answers HEAD and
GET with ranges, and checks no signature). Each of DOWNLOADS downloads is killed at KILLS random points, every other
time the command and every other time the child that downloads, then resumed until it is done. Wrong is a file whose
SHA-256 is not that of the server's. Then every body has a wrong byte: accepted is what lies in the model's place
afterwards. Then the disk is a tmpfs too small for file and margin, in a mount namespace of its own; where none may be
made, a server that claims a file of a petabyte stands for it. Refused early means: exit 1, and no GET of the file.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
from support import ROOT, figure, note

from golek_worker.registry.download import MARGIN, begun
from tests.support.files import FileServer
from tests.support.hub import Hub, sha256

BENCH = "download"
DOWNLOADS = int(os.environ.get("DOWNLOADS", "10"))
KILLS = int(os.environ.get("DOWNLOAD_KILLS", "3"))
SIZE = int(os.environ.get("DOWNLOAD_MB", "16")) * 1024 * 1024
CORRUPT = int(os.environ.get("DOWNLOAD_CORRUPT", "3"))
SECONDS = 1.5
"""How long an undisturbed download takes, so that kills meet it."""
NAME = "own/repo/m.gguf"


class Place(NamedTuple):
    """A server that has the file."""

    kind: str
    server: Hub | FileServer
    source: str
    environment: dict[str, str]


def pull(place: Place, target: Path, *options: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
    """The command, begun."""
    command = [*before, sys.executable, "-m", "golek_worker.cli", "models", "pull", place.source, "--to", str(target)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "HF_"))}
    return subprocess.Popen(
        [*command, *options],
        cwd=target.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment | {"PYTHONPATH": str(ROOT)} | place.environment,
    )


def killed(place: Place, target: Path, digest: str) -> tuple[bool, int]:
    """One download with its kills: whether the file is right, and how many kills met it."""
    met = 0
    for number in range(KILLS):
        child = pull(place, target, "--sha256", digest)
        point = random.randrange(SIZE // 50, SIZE * 9 // 10)
        while have(target) < point and child.poll() is None:
            time.sleep(0.002)
        met += child.poll() is None
        family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        victim = family[-1] if family and number % 2 else child
        victim.send_signal(signal.SIGKILL)
        child.communicate()
        psutil.wait_procs(family, 5)
    child = pull(place, target, "--sha256", digest)
    _, errors = child.communicate()
    if child.returncode:
        note(errors.decode())
    return target.is_file() and sha256(target.read_bytes()) == digest, met


def have(target: Path) -> int:
    parts = begun(target)
    return parts[0].stat().st_size if parts else 0


def damaged(place: Place, target: Path, digest: str) -> bool:
    """Whether a file with a wrong byte was accepted."""
    place.server.corrupt = True
    child = pull(place, target, *(() if place.kind == "hf" else ("--sha256", digest)))
    child.communicate()
    place.server.corrupt = False
    return child.returncode == 0 or target.exists()


def too_small(place: Place, folder: Path) -> tuple[bool, bool]:
    """Whether a disk too small was refused before the first byte, and whether it was a real one."""
    place.server.asked.clear()
    disk = folder / "disk"
    disk.mkdir()
    size = MARGIN + SIZE - 1024 * 1024
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk} && cd {disk} && exec " + '"$@"'
    may_mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    real = shutil.which("unshare") is not None and subprocess.run(may_mount, check=False).returncode == 0
    before = ("unshare", "-rm", "sh", "-c", mount, "sh") if real else ()
    if not real:
        place.server.claimed_size = 10**15
    child = pull(place, disk / "m.gguf", before=before)
    _, errors = child.communicate()
    place.server.claimed_size = None
    return child.returncode == 1 and b"still to come" in errors and not place.server.gets(), real


def measure(place: Place, content: bytes, folder: Path) -> None:
    """All figures of one kind of source."""
    digest = sha256(content)
    wrong = met = 0
    place.server.rate = SIZE / SECONDS
    place.server.served = 0
    for number in range(DOWNLOADS):
        right, hits = killed(place, folder / f"{number}.gguf", digest)
        wrong, met = wrong + (not right), met + hits
        note(f"{place.kind} {number + 1} of {DOWNLOADS}: {'right' if right else 'WRONG'}, {hits} kills met it")
    figure(BENCH, f"{place.kind}_wrong", wrong, None, "files", DOWNLOADS)
    figure(BENCH, f"{place.kind}_kills_met", met, DOWNLOADS * KILLS, "kills", DOWNLOADS)
    figure(BENCH, f"{place.kind}_bytes_served", place.server.served / (DOWNLOADS * SIZE), None, "file sizes", DOWNLOADS)
    place.server.rate = None
    accepted = sum(damaged(place, folder / f"bad{number}.gguf", digest) for number in range(CORRUPT))
    figure(BENCH, f"{place.kind}_damaged_accepted", accepted, None, "files", CORRUPT)
    early, real = too_small(place, folder)
    figure(BENCH, f"{place.kind}_small_{'disk' if real else 'disk_standin'}_refused_early", early, 1, "of 1", 1)


def main() -> None:
    content = random.Random(8).randbytes(SIZE)
    with ExitStack() as stack:
        hub = stack.enter_context(Hub({NAME: content}))
        files = stack.enter_context(FileServer({NAME: content}))
        for place in (
            Place("hf", hub, f"hf:{NAME}", hub.environment()),
            Place("http", files, f"{files.url}/{NAME}", {}),
            Place("s3", files, f"s3://{NAME}", files.environment()),
        ):
            with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
                measure(place, content, Path(folder))


if __name__ == "__main__":
    main()
