"""What may be asked of a model that makes vectors, and what is told of one that it made?"""

import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError
from golek_worker.engine.base import Embed, SequenceStart

DECIMALS = 8


def unit_vector(row: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """`row` with length 1, rounded to `DECIMALS`; None when it has no length, or one that is no number."""
    numbers = row.astype(np.float64)
    length = float(np.sqrt(numbers @ numbers))
    if not np.isfinite(length) or length == 0.0:
        return None
    return (numbers / length).round(DECIMALS)


def embeds(command: SequenceStart) -> Embed:
    """`command`, if it has texts to embed. Raises BadRequestError for any other."""
    if not isinstance(command, Embed):
        raise BadRequestError(
            "This model makes vectors, it neither writes nor ranks. "
            "Send the text as `input` to embedding.request.<model>"
        )
    if not command.inputs:
        raise BadRequestError("There is no text in `input`", param="input")
    return command
