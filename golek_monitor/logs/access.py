"""What does the gateway's access log say of a request?

`<GOLEK_DATA>/logs/api_access.log` and its older files, a JSON object per line. The newest bytes are searched, for a
line that is wanted is a recent one as a rule.
"""

from pathlib import Path
from typing import Final

import msgspec

from golek_monitor.logs.records import HttpVisit

NAME: Final = "api_access.log"
OLDER: Final = 5
"""Files besides the current one: `api_access.log.1` and on."""
MOST_BYTES: Final = 128 * 2**20
"""Two files of the usual size."""
MOST: Final = 20
BLOCK: Final = 4 * 2**20


def visits(data: Path, ids: set[str]) -> list[HttpVisit]:
    """The lines whose job or request has one of these ids, oldest first. In a thread: it reads files."""
    wanted = [one.encode() for one in ids if one]
    if not wanted:
        return []
    found: list[HttpVisit] = []
    left = MOST_BYTES
    for number in range(OLDER + 1):
        path = data / "logs" / (f"{NAME}.{number}" if number else NAME)
        try:
            size = path.stat().st_size
            found = _in(path, max(0, size - left), wanted, ids) + found
        except OSError:
            continue
        left -= size
        if left <= 0 or len(found) >= MOST:
            break
    return found[-MOST:]


def _in(path: Path, begin: int, wanted: list[bytes], ids: set[str]) -> list[HttpVisit]:
    """Those of one file, from the byte `begin` on."""
    found = []
    with path.open("rb") as file:
        file.seek(begin)
        rest = b""
        while block := file.read(BLOCK):
            lines, cut, after = (rest + block).rpartition(b"\n")
            rest = after
            if cut and any(one in lines for one in wanted):
                found += [visit for line in lines.split(b"\n") if (visit := _visit(line, wanted, ids)) is not None]
    return found


def _visit(line: bytes, wanted: list[bytes], ids: set[str]) -> HttpVisit | None:
    if not any(one in line for one in wanted):
        return None
    try:
        visit = msgspec.json.decode(line, type=HttpVisit)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return visit if ids & {visit.job_id, visit.request_id} else None
