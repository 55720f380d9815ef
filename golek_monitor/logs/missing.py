"""Where was looked for a request, and why may it not be there?"""

from pathlib import Path

from golek_monitor.logs.records import LogFile


def reasons(name: str, looked: list[LogFile], folder: Path, machine: str) -> list[str]:
    """Sentences for who asked for `name` and got nothing: the places first, then what may be the cause."""
    readable = [log for log in looked if log.problem is None]
    lines = [f"no request {name[:128]!r} in the {len(readable)} request logs in {folder} of {machine}"]
    lines += [f"{log.path}: {_about(log)}" for log in looked]
    lines.append("its worker may have run on another machine, where no worker of its model answers now")
    if readable:
        lines.append("it may be older than the logs reach: GOLEK_LOG_RETENTION_DAYS says how long rows are kept")
    lines.append("it may not have ended yet: a row is written when a job ends; `golek monitor status` shows queues")
    lines.append("it may never have become a job: what the ingress refuses (400, 401, 413, 429) has no row")
    return lines


def _about(log: LogFile) -> str:
    if log.problem is not None:
        return f"not read: {log.problem}"
    return f"reaches back to {log.oldest}" if log.oldest is not None else "no requests yet"
