"""What does a command leave behind? `golek` in a process of its own, which ends with the wait for it."""

import asyncio
import os
import sys
from typing import NamedTuple

GOLEK = [sys.executable, "-m", "golek_client.cli"]
PATIENCE_S = 20.0


class Done(NamedTuple):
    """What a program left behind."""

    status: int | None
    out: str
    err: str


async def golek(url: str, *words: str, stdin: bytes = b"", **environment: str) -> Done:
    """`golek` with `words` against the server at `url`; `stdin` is its whole input."""
    process = await asyncio.create_subprocess_exec(
        *GOLEK,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NATS_URL": url, "COLUMNS": "80"} | environment,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
    return Done(process.returncode, out.decode(), err.decode())
