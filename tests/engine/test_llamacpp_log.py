"""What llama.cpp says, on its way to the engine's log file."""

import pytest

from golek_worker.engine.base import ASIDE
from golek_worker.engine.llamacpp import log

INFO, WARN, CONTINUED = 2, 3, 5


def test_each_line_of_a_load_goes_aside(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where several come as one text, the first of them empty; a line that comes in pieces stays one."""
    for level, text in (
        (INFO, b"\n--- vision hparams ---\n"),
        (INFO, b"\n"),
        (INFO, b"loading"),
        (CONTINUED, b" ..."),
        (CONTINUED, b"\n"),
        (WARN, b"an old file\n"),
    ):
        log.callback(level, text, None)
    told = capfd.readouterr().err
    assert told == f"{ASIDE}--- vision hparams ---\n{ASIDE}loading ...\nan old file\n"
