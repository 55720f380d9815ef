"""How much memory a control group leaves, by its files."""

from pathlib import Path

import psutil
import pytest

from golek_worker.free_memory import free_bytes

STAT = "anon 5\nactive_file 100\ninactive_file 30\ntotal_active_file 100\ntotal_inactive_file 30"


def group(folder: Path, limit: str, usage: int, *, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, text in zip((*names, "memory.stat"), (limit, str(usage), STAT), strict=True):
        (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_group_counts(tmp_path: Path, version: int) -> None:
    """Of the process's own group and those above it; file pages are as good as free."""
    root = tmp_path / "memory" if version == 1 else tmp_path
    group(root / "a", "5000", 2000, version=version)
    group(root / "a/b", "9223372036854771712" if version == 1 else "max", 1500, version=version)
    membership = tmp_path / "cgroup"
    membership.write_text("4:cpu:/a\n3:memory:/a/b\n" if version == 1 else "0::/a/b\n")
    assert free_bytes(membership, tmp_path) == 5000 - 2000 + 130


def test_in_a_container_the_root_counts(tmp_path: Path) -> None:
    """There the path may be the host's, and only the root can be seen."""
    group(tmp_path, "4000", 1000)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/system.slice/docker-1\n")
    assert free_bytes(membership, tmp_path) == 3130


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    """As on a system that has none."""
    assert 0 < free_bytes(tmp_path / "none", tmp_path) <= psutil.virtual_memory().total
