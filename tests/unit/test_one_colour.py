"""The images that models are tried with."""

import pytest

from golek_wire.sniffing import Picture, sniff
from golek_worker import one_colour
from tests.support import pictures


@pytest.mark.parametrize("colour", one_colour.COLOURS)
def test_an_image_of_one_colour_is_a_png(colour: str) -> None:
    """A whole file of just this colour."""
    side = one_colour.SIDE
    made = one_colour.png(colour)
    assert sniff(made) == Picture("image/png", side, side)
    assert made == pictures.png(one_colour.COLOURS[colour], side, side)
