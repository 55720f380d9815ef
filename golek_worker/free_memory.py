"""How much memory may a process here still take?

What the kernel has available, and less where a control group (a container, a systemd unit) has a limit. File pages that
the kernel would give up count as free in both: a model's file that lies in them is read from there. Groups of version 2
(https://docs.kernel.org/admin-guide/cgroup-v2.html) and of version 1.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
LEAST_FREE = 256 * 2**20
"""With less memory left caches give way."""
_V2 = ("memory.max", "memory.current", ("active_file", "inactive_file"))
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))
"""Names of a group's limit and usage, and of the file pages in its `memory.stat`."""


def free_bytes(membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> int:
    """Bytes that may be allotted without swapping or being killed."""
    return min([psutil.virtual_memory().available, *_left_in_groups(membership, groups)])


def memory_is_short() -> bool:
    """Whether caches shall give way."""
    return free_bytes() < LEAST_FREE


def _left_in_groups(membership: Path, groups: Path) -> Iterator[int]:
    """What each group with a limit that this process is in, directly or further up, leaves."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left_upwards(groups, path, *_V2)
        elif "memory" in controllers.split(","):
            yield from _left_upwards(groups / "memory", path, *_V1)


def _left_upwards(root: Path, path: str, limit: str, usage: str, pages: tuple[str, str]) -> Iterator[int]:
    """In a container the path may be that of the host, where only the root can be seen."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        try:
            most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:  # no such group, or one without a limit
            most = "max"
        if most != "max":
            yield int(most) - used + sum(int(stat.get(name, 0)) for name in pages)
        if folder == root:
            return
