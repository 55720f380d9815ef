"""Logs on disk: a file for each start, `latest.txt`, and no more files than are kept."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from golek_worker import process
from golek_worker.machine import logfiles
from golek_worker.machine.logfiles import KEPT, EngineLog

NOW = datetime(2026, 2, 7, 14, 30, 22, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gpu 1.lab")


def test_a_file_is_named_by_its_time_and_host(tmp_path: Path) -> None:
    """Both kinds lie where they are looked for, and `latest.txt` is a relative link."""
    boot = logfiles.create(logfiles.boot_folder(tmp_path), "boot", NOW)
    engine = logfiles.create(logfiles.engine_folder(tmp_path, "qwen2.5/7b"), "server", NOW)
    assert boot == tmp_path / "logs" / "_boot" / "20260207_143022_boot_gpu_1.lab.log"
    assert engine == tmp_path / "logs" / "llama-qwen2.5_7b" / "20260207_143022_server_gpu_1.lab.log"
    assert (boot.parent / "latest.txt").readlink() == Path(boot.name)
    later = logfiles.create(boot.parent, "boot", NOW + timedelta(seconds=1))
    assert (boot.parent / "latest.txt").resolve() == later.resolve()
    assert sorted(path.name for path in boot.parent.iterdir()) == [boot.name, later.name, "latest.txt"]


def test_two_starts_in_one_second_share_no_file(tmp_path: Path) -> None:
    """Many at once get a file each."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: logfiles.create(tmp_path, "boot", NOW), range(16)))
    assert len(set(made)) == 16
    assert tmp_path / "20260207_143022_boot_gpu_1.lab-2.log" in made
    assert (tmp_path / "latest.txt").resolve() in made


def test_where_there_are_no_links_a_file_names_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`latest.txt` says the name, whatever stood there before."""
    logfiles.create(tmp_path, "boot", NOW)

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    path = logfiles.create(tmp_path, "boot", NOW)
    assert not (tmp_path / "latest.txt").is_symlink()
    assert (tmp_path / "latest.txt").read_text() == f"{path.name}\n"


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Older ones go; what is no log stays."""
    (tmp_path / "notes_of_a_person.log").touch()
    made = [logfiles.create(tmp_path, "boot", NOW + timedelta(seconds=second)) for second in range(KEPT + 5)]
    assert [path.exists() for path in made] == [False] * 5 + [True] * KEPT
    assert (tmp_path / "notes_of_a_person.log").exists()


def test_a_log_in_use_is_kept_whatever_its_age(tmp_path: Path) -> None:
    """A worker that runs for months still has its log, in this process or another; once it ends, the log may go."""
    mine, theirs, _ = [logfiles.create(tmp_path, "boot", NOW) for _ in range(3)]
    engine_log = EngineLog(mine)
    other = process.spawn([sys.executable, "-c", "import time; time.sleep(60)"], theirs)
    made = [logfiles.create(tmp_path, "boot", NOW + timedelta(seconds=second + 1)) for second in range(KEPT)]
    assert sorted(tmp_path.glob("*.log")) == sorted([mine, theirs, *made])
    other.kill()
    other.wait()
    engine_log.close()
    last = logfiles.create(tmp_path, "boot", NOW + timedelta(seconds=KEPT + 1))
    assert sorted(tmp_path.glob("*.log")) == sorted([*made[1:], last])


def test_each_line_has_its_time(tmp_path: Path) -> None:
    """Lines are on disk at once, in the order they were said."""
    engine_log = EngineLog(tmp_path / "x.log")
    engine_log.write("one")
    engine_log.write("zwölf")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(f"{time} one\n{time} zwölf\n", engine_log.path.read_text())
    engine_log.close()


def test_a_worker_finds_its_own_log_among_others(tmp_path: Path) -> None:
    """The newest of that worker; a name that only ends alike is another's."""
    for second, text in enumerate(
        ['{"worker_id": "one-h-1"}', "worker_id=one-h-2 engine=echo", '{"worker_id": "not-one-h-1"}', ""]
    ):
        logfiles.create(tmp_path, "boot", NOW + timedelta(seconds=second)).write_text(text)
    found = logfiles.newest_of(tmp_path, re.compile(r"one-h-\d+"))
    assert found is not None
    assert found.name.startswith("20260207_143023")
    assert logfiles.newest_of(tmp_path, re.compile("one-h-1")) != found
    assert logfiles.newest_of(tmp_path, re.compile("one-h-11")) is None
    assert logfiles.newest_of(tmp_path / "none", re.compile("one")) is None
