"""Where a model's file may come from besides the hub: web servers, S3 (a stand-in), this machine."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_worker.registry import download, local, origin, source
from golek_worker.registry.report import Downloaded, DownloadError
from golek_worker.registry.source import Source
from tests.support.files import FileServer
from tests.support.hub import sha256

TINY = Path("data/models/golek-tiny/model.gguf").read_bytes()
CONTENT = random.Random(2).randbytes(1_500_000)
NOBODY = "the size, and that it is a GGUF file; nobody gave a sha256"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serves `m.gguf` in a bucket and beside it, as a web server and as S3; waits are short."""
    monkeypatch.setattr(download, "WAITS_S", (0.01, 0.01))
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    with FileServer({"zoo/m.gguf": TINY}) as running:
        for key, value in running.environment().items():
            if value:
                monkeypatch.setenv(key, value)
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "m" / "model.gguf"


def place(server: FileServer, scheme: str, rest: str = "zoo/m.gguf") -> Source:
    return source.parse(f"s3://{rest}" if scheme == "s3" else f"{server.url}/{rest}")


def fetched(one: Source, target: Path, sha: str | None = None, *, again: bool = False) -> Downloaded:
    return download.download(one, target, sha, lambda _: None, again=again)


def refused(one: Source, target: Path, sha: str | None = None) -> str:
    with pytest.raises(DownloadError) as caught:
        fetched(one, target, sha)
    assert not target.exists()
    return str(caught.value)


def parts(target: Path) -> list[Path]:
    return sorted(target.parent.glob(".*.part"))


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_file_comes_whole_and_its_origin_is_noted(server: FileServer, target: Path, scheme: str) -> None:
    """Without a hash from anybody it must at least be a GGUF file; where it came from lies beside it."""
    one = place(server, scheme)
    done = fetched(one, target)
    assert (done.fetched, done.checked) == (len(TINY), NOBODY)
    assert target.read_bytes() == TINY
    noted = origin.read(target)
    assert noted is not None
    assert (noted.source, noted.sha256, noted.vouched) == (str(one), sha256(TINY), False)
    assert parts(target) == []


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_kill_and_cuts_cost_no_byte_twice(server: FileServer, target: Path, scheme: str) -> None:
    """Killed in the middle and cut off twice, the next run goes on behind what is on the disk; the hash is right."""
    server.rate = 4e6
    one = place(server, scheme)
    child = subprocess.Popen(
        [sys.executable, "-m", "golek_worker.registry.download", str(one), str(target)], stdout=subprocess.DEVNULL
    )
    while not (parts(target) and parts(target)[0].stat().st_size >= 1_000_000):
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not target.exists()
    server.rate, server.cut_after = None, [1_000_000, 100_000]
    have = parts(target)[0].stat().st_size
    done = fetched(one, target, sha256(TINY))
    assert done.checked == f"sha256 {sha256(TINY)}"
    assert done.fetched == len(TINY) - have
    assert server.gets()[-1].range is not None


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_file_replaced_meanwhile_starts_anew(server: FileServer, target: Path, scheme: str) -> None:
    """Between two connections of one download another file comes into the place: nothing of the two is mixed."""
    server.files["zoo/m.gguf"] = CONTENT
    server.cut_after = [700_000]
    server.then = {"zoo/m.gguf": TINY}
    assert fetched(place(server, scheme), target).size == len(TINY)
    assert target.read_bytes() == TINY
    assert parts(target) == []


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_damage_is_refused_whether_a_hash_is_known_or_not(server: FileServer, target: Path, scheme: str) -> None:
    """A wrong byte does not pass the hash, what is no GGUF file does not pass at all; neither stays."""
    server.corrupt = True
    assert "it was deleted. It was damaged on its way, or MODEL_SHA256 is wrong" in refused(
        place(server, scheme), target, sha256(TINY)
    )
    server.corrupt, server.files["zoo/m.gguf"] = False, CONTENT
    assert "not a GGUF file" in refused(place(server, scheme), target)
    assert parts(target) == []


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_disk_too_small_is_seen_before_the_first_byte(server: FileServer, target: Path, scheme: str) -> None:
    """Of the file nothing was asked for but its size."""
    server.claimed_size = 10**15
    assert "1,000,000,000,000,000 bytes are still to come" in refused(place(server, scheme), target)
    assert server.gets() == []


@pytest.mark.parametrize(
    ("scheme", "status", "said"),
    [
        ("http", 404, "no such file there (status 404)"),
        ("http", 403, "the server refuses (status 403); user and password go into the URL"),
        ("http", 503, "the server answers with status 503; try again later"),
        ("s3", 404, "no such object at http://127.0.0.1"),
        ("s3", 403, "access was denied at http://127.0.0.1"),
        ("s3", 500, "cannot be asked ("),
    ],
)
def test_a_refusal_says_why_and_what_helps(
    server: FileServer, target: Path, scheme: str, status: int, said: str
) -> None:
    """Missing, denied, broken: each names the source."""
    server.status = status
    one = place(server, scheme)
    sentence = refused(one, target)
    assert sentence.startswith(f"{one}: ")
    assert said in sentence


@pytest.mark.parametrize(
    "oddity",
    [
        {"ranges": False},
        {"etags": False},
        {"weak": True},
        {"etags": False, "dates": False},
        {"head_status": 405},
        {"head_status": 403},
    ],
)
def test_a_web_server_may_lack_much(server: FileServer, target: Path, oddity: dict[str, object]) -> None:
    """Without ranges, versions or HEAD the file comes whole all the same, from its beginning where it must."""
    for name, value in oddity.items():
        setattr(server, name, value)
    server.cut_after = [0, 900_000] if "head_status" in oddity else [900_000]
    fetched(place(server, "http"), target)
    assert target.read_bytes() == TINY
    resumed = any(one.range == "bytes=900000-" for one in server.gets())
    assert resumed == (oddity != {"etags": False, "dates": False})


def test_if_range_is_sent_with_a_strong_version_only(server: FileServer, target: Path) -> None:
    """RFC 9110: a weak ETag may not stand there."""
    for weak in (False, True):
        server.weak, server.cut_after = weak, [900_000]
        fetched(place(server, "http"), target, again=True)
        assert (server.gets()[-1].if_range is None) == weak


def test_a_server_that_does_not_tell_the_size_is_refused(server: FileServer, target: Path) -> None:
    """Nothing would tell a whole file from half of one."""
    server.lengths = server.ranges = False
    assert "does not say how large the file is" in refused(place(server, "http"), target)


def test_redirects_are_followed_and_secrets_stay_out_of_words(server: FileServer, target: Path) -> None:
    """User, password and signature reach the server; what is said and noted has none of them."""
    server.redirects["old/m.gguf"] = "/zoo/m.gguf"
    one = source.parse(f"{server.url.replace('//', '//me:secret@')}/old/m.gguf?signature=secret")
    fetched(one, target)
    assert target.read_bytes() == TINY
    assert server.asked[0].path == "/old/m.gguf?signature=secret"
    assert server.asked[0].user is not None
    noted = origin.read(target)
    assert noted is not None
    assert "secret" not in noted.source + str(one)
    assert source.parse(one.text) == one


def test_a_file_of_this_machine_is_linked_or_copied(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one file system no byte is copied, elsewhere all are; a deleted source takes nothing with it."""
    here = tmp_path / "mine.gguf"
    here.write_bytes(TINY)
    one = source.parse(f"file://{here}")
    assert fetched(one, target, sha256(TINY)).fetched == 0
    assert target.samefile(here)
    fetched(one, target, again=True)
    assert parts(target) == []
    monkeypatch.setattr(local.os, "link", _refuse_to_link)
    assert fetched(one, target, again=True).fetched == len(TINY)
    assert not target.samefile(here)
    here.unlink()
    assert target.read_bytes() == TINY
    with pytest.raises(DownloadError, match="No such file"):
        fetched(one, target, again=True)


def _refuse_to_link(*_: object) -> None:
    """As between two file systems."""
    raise OSError(18, "Invalid cross-device link")


def test_a_wrong_file_of_this_machine_is_left_alone(tmp_path: Path, target: Path) -> None:
    """The hash is wrong: the model's place stays empty, and the file that was named is untouched."""
    here = tmp_path / "mine.gguf"
    here.write_bytes(TINY)
    assert f"but MODEL_SHA256 says {'0' * 64}. It was left as it is" in refused(
        source.parse(str(here)), target, "0" * 64
    )
    assert here.read_bytes() == TINY


def test_a_model_in_several_files_comes_from_anywhere(server: FileServer, target: Path) -> None:
    """The parts of a split model lie beside each other, whatever the scheme."""
    for number in (1, 2):
        server.files[f"zoo/big-0000{number}-of-00002.gguf"] = TINY
    fetched(place(server, "s3", "zoo/big-00001-of-00002.gguf"), target)
    names = ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
    assert sorted(file.name for file in target.parent.glob("*.gguf")) == names
