"""When is a router's table read again?

When one of its files changed. A file that cannot be used then leaves everything as it was, and is told as a problem
until it can; one that is just being written is left alone.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from golek_worker.router.table import Table
from golek_worker.router.tables import TablesError

log = structlog.get_logger("router")

LOOK_S: Final = 1.0
"""Between two looks at the files."""
QUIET_S: Final = 0.5
"""A file that changed is read once it has not changed for so long: who saves it may empty it first."""
Version = tuple[tuple[int, int], ...]


class Tables:
    """The table that counts now."""

    def __init__(self, read: Callable[[], Table], files: Iterable[Path]) -> None:
        """`read` makes the table of `files`; what it raises is raised: a router does not start with wrong files."""
        self._read = read
        self._files = tuple(files)
        self._version = self._good = self._look()
        """As they were seen last, and as they were read last."""
        self._table = read()
        self._tell()

    @property
    def table(self) -> Table:
        """What is served."""
        return self._table

    def refresh(self) -> bool:
        """Read the files again if one changed since; True when another table counts now."""
        version = self._look()
        if version == self._version:
            return False
        self._version = version
        try:
            self._check_emptied(version)
            self._table = self._read()
        except TablesError as error:
            log.warning("tables.refused", problem=str(error))
            said = f"{error}; what was read before still counts"
            kept = tuple(one for one in self._table.problems if not one.endswith("still counts"))
            self._table = msgspec.structs.replace(self._table, problems=(*kept, said))
            return True
        self._good = version
        log.info("tables.read", names=len(self._table.names), clouds=len(self._table.clouds))
        self._tell()
        return True

    async def again(self) -> None:
        """Read the files though none changed: what is served depends on something else, too, that did."""
        self._version = ()
        await asyncio.to_thread(self.refresh)

    async def watch(self) -> None:
        """Look at the files for as long as the router lives."""
        while True:
            await asyncio.sleep(LOOK_S)
            seen = await asyncio.to_thread(self._look)
            while seen != self._version:
                await asyncio.sleep(QUIET_S)
                before, seen = seen, await asyncio.to_thread(self._look)
                if seen == before:
                    await asyncio.to_thread(self.refresh)
                    break

    def _check_emptied(self, now: Version) -> None:
        """Raises TablesError for a file that had something in it and has nothing now: nobody means that."""
        for file, (_, size), (changed, left) in zip(self._files, self._good, now, strict=True):
            if size and changed and not left:
                raise TablesError(f"{file}: is empty")

    def _look(self) -> Version:
        return tuple(_version(file) for file in self._files)

    def _tell(self) -> None:
        for problem in self._table.problems:
            log.warning("tables.problem", problem=problem)
        if self._table.not_set_up:
            log.info("tables.not_set_up", **self._table.not_set_up)


def _version(file: Path) -> tuple[int, int]:
    """Changes when the file does; also when another one is moved into its place."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
