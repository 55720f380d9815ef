"""How are dead letters read for all who ask?

A letter is a message of the broker's, and reading many takes a while: one reading at a time serves all who wait for it.
"""

import asyncio
from typing import Final

from golek_client import Golek
from golek_wire.errors import NotFoundError
from golek_wire.signals import DeadLetter

LETTERS_LIMIT: Final = 500


class Mail:
    """The dead letters, read for one question at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Lock()
        self._begun = 0
        self._model = ""
        self._found: list[DeadLetter] | None = None

    async def newest(self, golek: Golek, model: str = "") -> list[DeadLetter]:
        """Those of a model or all, oldest first, LETTERS_LIMIT at most. Raises BusUnavailableError.

        Who asks shares a reading that began since, so that many who ask again and again cost one.
        """
        came = self._begun
        async with self._room:
            if self._begun == came or self._model != model or self._found is None:
                self._begun, self._model, self._found = self._begun + 1, model, None
                self._found = await golek.dead_letters(model or None, newest=LETTERS_LIMIT)
            return self._found

    async def one(self, golek: Golek, job_id: str) -> DeadLetter:
        """The letter of a job. Raises NotFoundError, BusUnavailableError."""
        found = await self.newest(golek)
        if all(letter.job_id != job_id for letter in found):
            async with self._room:
                found = await golek.dead_letters()
        for letter in found:
            if letter.job_id == job_id:
                return letter
        raise NotFoundError(
            f"job_id: no dead letter of job {job_id[:64]!r} is kept; seven days end each", param="job_id"
        )
