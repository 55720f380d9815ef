"""What is told of a vector that a model made?"""

import numpy as np
from numpy.typing import NDArray

DECIMALS = 8


def unit_vector(row: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """`row` with length 1, rounded to `DECIMALS`; None when it has no length, or one that is no number."""
    numbers = row.astype(np.float64)
    length = float(np.sqrt(numbers @ numbers))
    if not np.isfinite(length) or length == 0.0:
        return None
    return (numbers / length).round(DECIMALS)
