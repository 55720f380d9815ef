"""Does the time of a refusal tell how much of a wrong key is right?

A key that shares nothing with the right one, and one that differs from it in its last character alone, tried in turn:
over the bus at a worker that wants keys, and in the function that looks them up. Medians.
"""

import asyncio
import os
import random
import secrets
import tempfile
import time
from pathlib import Path

import nats
from support import WorkerProcess, broker, figure, median, note

from golek_wire.errors import UnauthorizedError
from golek_wire.keys import Key, digest
from golek_worker.bus.identity import Keys
from golek_worker.bus.keys import KeyBook

BENCH = "key_timing"
TRIES = int(os.environ.get("KEY_TRIES", "2000"))
CALLS = 50
"""Look-ups that are timed together: one takes less than the clock tells apart."""


def candidates(right: str) -> tuple[str, str]:
    """A key that is wrong everywhere, and one that is wrong at its end."""
    other = "0" if right[-1] != "0" else "1"
    everywhere = "".join(random.choice([c for c in "0123456789abcdef" if c != mine]) for mine in right)
    return everywhere, right[:-1] + other


def in_process(right: str) -> tuple[list[float], list[float]]:
    """Seconds of a look-up of each of the two."""
    book = KeyBook(None, None, Path())  # type: ignore[arg-type]
    book.known[digest(right)] = Key("ann")
    for number in range(1000):
        book.known[digest(str(number))] = Key(f"id-{number}")
    callers = Keys("echo", book)
    took: tuple[list[float], list[float]] = ([], [])
    tries = [{"Authorization": f"Bearer {key}"} for key in candidates(right)]
    for _ in range(TRIES):
        for index in random.sample((0, 1), 2):
            began = time.perf_counter()
            for _ in range(CALLS):
                try:  # noqa: SIM105 - a context manager would be timed, too
                    callers.key(tries[index])
                except UnauthorizedError:
                    pass
            took[index].append((time.perf_counter() - began) / CALLS)
    return took


async def on_the_bus(url: str, right: str) -> tuple[list[float], list[float]]:
    """Seconds of a request with each of the two."""
    client = await nats.connect(url)
    took: tuple[list[float], list[float]] = ([], [])
    tries = [{"Authorization": f"Bearer {key}"} for key in candidates(right)]
    for _ in range(TRIES):
        for index in random.sample((0, 1), 2):
            began = time.perf_counter()
            answer = await client.request("inference.request.echo", b'{"input": "hi"}', headers=tries[index])
            took[index].append(time.perf_counter() - began)
            assert b"UNAUTHORIZED" in answer.data, answer.data
    await client.close()
    return took


def tell(name: str, took: tuple[list[float], list[float]]) -> None:
    wrong, near = median(took[0]), median(took[1])
    note(f"{name}: {wrong * 1e6:.1f} us for a key that is wrong everywhere, {near * 1e6:.1f} us for 31 of 32 right")
    figure(BENCH, name, near * 1e6, wrong * 1e6, "us", TRIES)


def main() -> None:
    right = secrets.token_hex(16)
    tell("refused_in_process", in_process(right))
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as url:
        file = Path(folder) / "keys.txt"
        file.write_text(f"ann:{right}\n")
        file.chmod(0o600)
        with WorkerProcess(url, Path(folder), GOLEK_NATS_IDENTITY="keys", GOLEK_KEY_FILE=file):
            tell("refused_on_the_bus", asyncio.run(on_the_bus(url, right)))


if __name__ == "__main__":
    main()
