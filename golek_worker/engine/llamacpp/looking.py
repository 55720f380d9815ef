"""Which prompts with images are not yet cut into tokens?

To read images takes some 50 ms for each million pixels. The eyes' thread does it, so that nobody waits for the images
of others; a sequence begins when its prompt is there.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from golek_wire.errors import BadRequestError
from golek_worker.engine.base import Submit
from golek_worker.engine.llamacpp.model import Model

if TYPE_CHECKING:
    from golek_worker.engine.llamacpp.eyes import Eyes, Read

WAIT_S = 0.05
"""For an image, where there is nothing else to do; until then no command is read."""


class Looked(NamedTuple):
    """A sequence that was submitted, and its prompt."""

    command: Submit
    submitted_at: float
    """Seconds of `time.monotonic`."""
    read: Future[Read]


class Looking:
    """The sequences that begin with images; none where the model has no eyes."""

    def __init__(self, eyes: Eyes | None = None) -> None:
        self._eyes = eyes
        self._looked: dict[str, Looked] = {}

    @property
    def sees(self) -> bool:
        return self._eyes is not None

    def __len__(self) -> int:
        return len(self._looked)

    def begin(self, command: Submit, now: float) -> None:
        """Have its images looked at. Raises BadRequestError where the model has no eyes."""
        if self._eyes is None:
            raise BadRequestError(
                "This model reads no images, for no projector is loaded. Set MMPROJ_PATH to the model's own (mmproj), "
                "or ask a model with the capability `vision`"
            )
        read = self._eyes.look(command.prompt, command.cuts, command.images, command.image_fields)
        self._looked[command.job_id] = Looked(command, now, read)

    def cancel(self, job_id: str) -> bool:
        """Forget a sequence; False when it is not here."""
        looked = self._looked.pop(job_id, None)
        return looked is not None and (looked.read.cancel() or True)

    def done(self) -> list[Looked]:
        """Those whose prompts are there, or could not be read; each is told once."""
        return [self._looked.pop(name) for name in [name for name, one in self._looked.items() if one.read.done()]]

    def wait(self) -> None:
        """Until an image is looked at or computed, or a while."""
        if self._eyes is not None:
            self._eyes.wait(WAIT_S)

    def close(self) -> None:
        """Free the eyes."""
        if self._eyes is not None:
            self._eyes.close()


def opened(projector: str, model: Model, threads: int, most_rows: int) -> Looking:
    """With the eyes in the file `projector`, or without any. Raises EngineLoadError as Eyes does."""
    if not projector:
        return Looking()
    from golek_worker.engine.llamacpp.eyes import Eyes

    return Looking(Eyes(Path(projector), model, threads, most_rows))
