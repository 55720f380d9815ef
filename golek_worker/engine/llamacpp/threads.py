"""How many threads compute a step?

Without llama.cpp: the parent asks it too.
"""

import os
from pathlib import Path, PurePosixPath

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Physical cores that this process may use: of its CPU affinity, and within its control group's limit.

    A container with a limit of 2 CPUs sees all cores of its host; threads for all of them would wait for each other.
    """
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    cores = -(-allowed * physical // logical)
    limit = cpu_limit(_CGROUPS, _OWN_CGROUPS)
    return cores if limit is None else max(1, min(cores, int(limit)))


def cpu_limit(cgroups: Path, own: Path) -> float | None:
    """CPUs that the control groups of this process leave it, the tightest of all levels; None without a limit.

    `own` is what the kernel tells of the process (cgroups(7)): lines `0::/path` (version 2) or `4:cpu,cpuacct:/path`.
    In a container the path may be the host's, and only the root be there.
    """
    if not own.is_file():
        return None
    limits: list[float | None] = []
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        levels = (PurePosixPath(path), *PurePosixPath(path).parents)
        limits += [_limit(root / str(level).lstrip("/")) for level in levels]
    return min([limit for limit in limits if limit is not None], default=None)


def _limit(group: Path) -> float | None:
    """CPUs of one control group."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def thread_count(wanted: int, cores: int, model_bytes: int) -> int:
    """CPU threads of a decode step: `wanted`, or with 0 one per core.

    A small model gets fewer, one per 8 MiB. Its threads meet every few microseconds and wait by spinning:
    where other processes want the cores too, more threads are many times slower (4 MB model, 4 busy cores, 8 slots:
    2,200 tokens/s with one thread, 4,300 with two, 200 to 700 with three).
    """
    return wanted or min(cores, 1 + model_bytes // (8 * 1024 * 1024))
