"""Downloading, with a hub on a real socket and a process that can be killed."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_worker.registry.catalog import Wanted
from golek_worker.registry.fetch import fetch
from golek_worker.registry.report import Downloaded, DownloadError, Failed, Progress, Report
from golek_worker.registry.source import HubSource, Source
from tests.support.hub import COMMIT, Hub, sha256

PLACE = HubSource("m.gguf", "own/repo")
CONTENT = random.Random(1).randbytes(3_000_000)
TINY = Path("data/models/golek-tiny/model.gguf").read_bytes()
WRONG = "0" * 64


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one file, and an environment that asks this hub."""
    for key in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.delenv(key, raising=False)
    with Hub({"own/repo/m.gguf": CONTENT}) as running:
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "m" / "model.gguf"


async def fetched(target: Path, hash_: str | None = None, said: list[Progress] | None = None) -> Downloaded:
    return await fetch(Wanted(PLACE, hash_), target, (said if said is not None else []).append)


async def refused(target: Path, hash_: str | None = None) -> str:
    with pytest.raises(DownloadError) as caught:
        await fetched(target, hash_)
    assert not target.exists()
    return str(caught.value)


def spawn(target: Path, place: Source = PLACE) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "golek_worker.registry.download", str(place), str(target)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def impatient(target: Path) -> str:
    """What a download says that waits hardly at all before it asks again, and fails."""
    code = (
        "import sys\nfrom golek_worker.registry import download\n"
        "download.WAITS_S = (0.01, 0.01)\nsys.exit(download.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(PLACE), str(target)], capture_output=True, check=False, timeout=30
    )
    last = msgspec.json.decode(done.stdout.splitlines()[-1], type=Report)
    assert isinstance(last, Failed)
    assert done.returncode == 1
    return last.message


def parts(target: Path) -> list[Path]:
    return sorted(target.parent.glob("*.part")) if target.parent.is_dir() else []


async def test_a_file_comes_whole_and_is_verified(hub: Hub, target: Path) -> None:
    """The bytes are those of the hub, the way is told, and nothing else is asked of the hub."""
    hub.rate = 6e6
    said: list[Progress] = []
    done = await fetched(target, said=said)
    assert target.read_bytes() == CONTENT
    assert (done.size, done.fetched, done.checked) == (len(CONTENT), len(CONTENT), f"sha256 {sha256(CONTENT)}")
    assert [one.stage for one in said][:: len(said) - 1] == ["downloading", "verifying"]
    assert len({one.done for one in said}) >= 3
    assert {one.path.split("/")[1] for one in hub.asked} == {"own", "cdn"}
    assert f"/own/repo/resolve/{COMMIT}/m.gguf" in {one.path for one in hub.asked}
    assert parts(target) == []


def test_ten_kills_and_no_byte_twice(hub: Hub, target: Path) -> None:
    """Killed at ten points, it goes on behind what is on the disk; half a file never has the final name."""
    hub.rate = 1.5e6
    points = sorted(random.Random(7).sample(range(100_000, len(CONTENT) - 100_000), 10))
    for point in points:
        child = spawn(target)
        while not (parts(target) and parts(target)[0].stat().st_size >= point):
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not target.exists()
    child = spawn(target)
    lines, _ = child.communicate()
    last = msgspec.json.decode(lines.splitlines()[-1], type=Report)
    assert isinstance(last, Downloaded)
    assert last.fetched < len(CONTENT)
    assert sha256(target.read_bytes()) == sha256(CONTENT)
    assert hub.served < 2 * len(CONTENT)
    assert sum(one.range is not None for one in hub.gets()) == 10


async def test_a_model_in_several_files_comes_whole_or_not_at_all(hub: Hub, target: Path) -> None:
    """Killed in its second file it is not found; taken up again, no byte comes twice and each file has its own hash."""
    names = [f"own/repo/big-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.files |= {names[0]: CONTENT[:1_000_000], names[1]: CONTENT[1_000_000:]}
    hub.rate = 2e6
    split = HubSource("big-00001-of-00002.gguf", "own/repo")
    targets = split.targets(target)
    child = spawn(target, split)
    while not any(one.path.endswith(names[1]) for one in hub.gets()):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    child.kill()
    child.communicate()
    assert not any(one.exists() for one in targets)
    said: list[Progress] = []
    done = await fetch(Wanted(split), target, said.append)
    assert done.path == str(targets[0])
    assert done.size == len(CONTENT)
    assert done.fetched < 2_000_000
    assert b"".join(one.read_bytes() for one in targets) == CONTENT
    assert {one.total for one in said} == {len(CONTENT)}
    assert said[-1].done == len(CONTENT)
    assert parts(target) == []


async def test_cut_connections_are_taken_up_again(hub: Hub, target: Path) -> None:
    """Three connections that end early cost nothing but their wait."""
    hub.cut_after = [500_000, 1, 700_000]
    done = await fetched(target)
    assert target.read_bytes() == CONTENT
    assert done.fetched == len(CONTENT)
    assert [one.range for one in hub.gets()] == [None, "bytes=500000-", "bytes=500001-", "bytes=1200001-"]


def test_a_server_that_never_delivers_is_given_up(hub: Hub, target: Path) -> None:
    """After some attempts without a byte it ends, says where, and keeps what came."""
    hub.cut_after = [1000, 0, 0, 0, 0]
    assert "broke off at 1,000 of 3,000,000 bytes" in impatient(target)
    assert parts(target)[0].stat().st_size == 1000


async def test_a_server_without_ranges_sends_all_again(hub: Hub, target: Path) -> None:
    """What is on the disk is then replaced, never doubled."""
    hub.cut_after, hub.ranges = [400_000], False
    await fetched(target)
    assert target.read_bytes() == CONTENT


async def test_damaged_bytes_are_deleted_and_named(hub: Hub, target: Path) -> None:
    """Both hashes are said; the next attempt starts anew and succeeds."""
    hub.corrupt = True
    damaged = sha256(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    said = await refused(target)
    assert f"has sha256 {damaged}, but its source says {sha256(CONTENT)}; it was deleted" in said
    assert parts(target) == []
    hub.corrupt = False
    assert (await fetched(target)).fetched == len(CONTENT)


async def test_a_wrong_hash_of_ours_costs_no_download(hub: Hub, target: Path) -> None:
    """The hub's own word contradicts it before the first byte."""
    said = await refused(target, WRONG)
    assert f"the hub offers a file with sha256 {sha256(CONTENT)}, but the catalogue says {WRONG}" in said
    assert "nothing was downloaded" in said
    assert hub.gets() == []


async def test_a_full_disk_is_seen_before_the_first_byte(hub: Hub, target: Path) -> None:
    """Both numbers are named, and nothing of the file was asked for."""
    free = shutil.disk_usage(target.parents[2]).free
    hub.claimed_size = free + 10**9
    said = await refused(target)
    assert f"{hub.claimed_size:,} bytes are still to come" in said
    assert "free. Make room, or put the model on another disk" in said
    assert hub.gets() == []


def test_a_size_that_is_not_kept_is_refused(hub: Hub, target: Path) -> None:
    """A hub that promises more than its file has does not leave a short file behind."""
    hub.claimed_size = len(CONTENT) + 10
    assert "broke off at 3,000,000 of 3,000,010 bytes" in impatient(target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, "GatedRepo"), "own/repo is gated"),
        ((403, "GatedRepo"), "then set HF_TOKEN to a token of that account (HF_TOKEN is not set)"),
        ((401, "RepoNotFound"), "no repository own/repo at http://127.0.0.1"),
        ((404, "RevisionNotFound"), "the repository own/repo has no revision 'main'"),
        ((404, "EntryNotFound"), "the repository own/repo has no file 'm.gguf'"),
        ((403, ""), "status 403 for own/repo; the token was refused"),
        ((503, ""), "status 503 for own/repo; try again later"),
    ],
)
async def test_a_refusal_says_why_and_what_helps(hub: Hub, target: Path, refusal: tuple[int, str], said: str) -> None:
    """Gated, private or missing, revision, file: each names the repository."""
    hub.refusal = refusal
    sentence = await refused(target)
    assert sentence.startswith("hf:own/repo/m.gguf: ")
    assert said in sentence


async def test_the_token_goes_to_the_hub_alone(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_TOKEN opens a private repository; the CDN's other host never sees it."""
    hub.token = "hf_secret"
    assert "no repository own/repo" in await refused(target)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    await fetched(target)
    assert {one.token for one in hub.gets()} == {None}


async def test_a_mirror_without_hashes_may_call_a_version_as_it_likes(hub: Hub, target: Path) -> None:
    """An ETag is no path: the file comes whole, and that nobody knew its hash is said."""
    hub.files["own/repo/m.gguf"] = TINY
    hub.etag = "../a/b"
    assert (await fetched(target)).checked.startswith("the size")
    assert target.read_bytes() == TINY
    assert parts(target) == []


async def test_a_hub_that_sends_in_circles_is_a_sentence(hub: Hub, target: Path) -> None:
    """Without a traceback, and with what may help."""
    hub.circular = True
    said = await refused(target)
    assert "Exceeded maximum allowed redirects" in said
    assert "HF_ENDPOINT names another hub" in said
    assert "Traceback" not in said


async def test_a_name_that_no_repository_can_have_is_a_sentence(hub: Hub, target: Path) -> None:
    """What the hub's client finds wrong with a name is passed on."""
    with pytest.raises(DownloadError, match=r"hf:own/re--po/m\.gguf: no name of a repository: "):
        await fetch(Wanted(HubSource("m.gguf", "own/re--po")), target, lambda _: None)


async def test_a_place_that_cannot_be_written_is_named(hub: Hub, tmp_path: Path) -> None:
    """The operating system's word, with the path; not a byte was asked for."""
    (tmp_path / "a-file").write_text("")
    said = await refused(tmp_path / "a-file" / "model.gguf")
    assert said == f"{tmp_path / 'a-file' / 'model.gguf'}: File exists"
    assert hub.gets() == []


def test_a_worker_does_not_import_the_hubs_client() -> None:
    """It would cost a tenth of a second of each start, and its threads could hold up the end."""
    code = "import sys, golek_worker.worker, golek_worker.machine.lifecycle; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "False\n"


async def test_no_network_is_a_sentence(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which hub, what happened, what to look at; in seconds."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    began = time.monotonic()
    said = await refused(target)
    assert "http://127.0.0.1:1 cannot be reached ([Errno 111] Connection refused)" in said
    assert time.monotonic() - began < 10


async def test_two_at_once_download_one_file_once(hub: Hub, target: Path) -> None:
    """The second waits, showing how far the first is, and finds the file."""
    hub.rate = 3e6
    saids: tuple[list[Progress], list[Progress]] = ([], [])
    both = await asyncio.gather(*(fetched(target, said=said) for said in saids))
    assert sorted(one.fetched for one in both) == [0, len(CONTENT)]
    assert target.read_bytes() == CONTENT
    assert hub.served == len(CONTENT)
    (waiter,) = [said for said, done in zip(saids, both, strict=True) if done.fetched == 0]
    assert {one.stage for one in waiter} == {"waiting"}
    assert len({one.done for one in waiter}) >= 2


async def test_a_file_replaced_at_the_hub_starts_anew(hub: Hub, target: Path) -> None:
    """What was begun of the old version is not continued with the new one, and does not stay."""
    hub.rate = 3e6
    child = spawn(target)
    while not (parts(target) and parts(target)[0].stat().st_size > 500_000):
        await asyncio.sleep(0.01)
    child.kill()
    child.communicate()
    hub.files["own/repo/m.gguf"] = CONTENT[::-1]
    await fetched(target)
    assert target.read_bytes() == CONTENT[::-1]
    assert parts(target) == []


async def test_cancelling_leaves_no_process(hub: Hub, target: Path) -> None:
    """Who waits for a download may stop waiting at any time; within two seconds nothing runs any more."""
    hub.rate = 1e5
    task = asyncio.create_task(fetched(target))
    while not parts(target):
        await asyncio.sleep(0.02)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 2
    size = parts(target)[0].stat().st_size
    await asyncio.sleep(0.5)
    assert parts(target)[0].stat().st_size == size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere it ends with its next report")
def test_a_download_ends_with_its_parent(hub: Hub, target: Path) -> None:
    """A killed worker leaves no process that goes on downloading."""
    hub.rate = 2e5
    code = (
        "import asyncio, pathlib\nfrom golek_worker.registry.fetch import fetch\n"
        "from golek_worker.registry.catalog import Wanted\nfrom golek_worker.registry.source import parse\n"
        f"asyncio.run(fetch(Wanted(parse('{PLACE}')), pathlib.Path({str(target)!r}), lambda _: None))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    while not parts(target):
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    time.sleep(0.2)
    size = parts(target)[0].stat().st_size
    time.sleep(0.5)
    assert parts(target)[0].stat().st_size == size
