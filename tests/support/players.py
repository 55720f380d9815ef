"""A fleet whose models are played, with routers that have them answer together; and what is left behind of a request.

`a`, `b` and `v` are real workers in processes of their own (played_worker.py); `v` is the one that gets into trouble.
"""

import asyncio
import json
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from golek_client import Golek
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.orchestration import Orchestration
from golek_wire.replies import InferenceReply
from tests.support import played_worker
from tests.support.ports import free_port
from tests.support.step_faults import Row
from tests.support.workers import WorkerProcess

CONTEXTS: Final = {"a": 131072, "b": 131072, "v": 4096}
"""Tokens, which are words here."""
MODELS: Final = tuple(CONTEXTS)
PRESETS: Final = "presets:\n  solo: {models: [v], mode: single}\n"
CONCURRENCY: Final = 256
SETTLE_S: Final = 2.0
"""So long after the end of a request something of it may still be heard."""
STAYS: Final = 5
"""Looks in a row that see the same number of jobs."""


class PlayedWorker(WorkerProcess):
    """A worker whose model is played."""

    module = "tests.support.played_worker"


class Told(Struct):
    """What one caller was told."""

    row: Row
    req_id: str
    deadline_s: float
    reply: InferenceReply | None = None
    error: InferenceServiceError | None = None
    pieces: str | None = None
    """What was streamed; None where nothing was to be."""
    took_s: float = 0.0
    ended_at: float = 0.0
    """On the clock of logs."""

    @property
    def how(self) -> Orchestration | None:
        return self.reply.orchestration if self.reply is not None else None

    @property
    def end(self) -> str:
        """In short: `whole`, `partial <code>` or the code of the error."""
        if self.reply is None:
            return self.error.code if self.error is not None else ""
        if self.how is not None and self.how.partial:
            return f"partial {self.how.error}"
        return "whole"

    def __str__(self) -> str:
        """The story of it, for who reads a failed test."""
        told = msgspec.to_builtins(self.how) if self.how is not None else {}
        if self.error is not None:
            told = self.error.details.get("orchestration", {})
        text = self.reply.text if self.reply is not None else self.error
        return f"{self.req_id}: {self.end} after {self.took_s:.2f} s: {text!r}, streamed {self.pieces!r}\n{told}"


class Players:
    """The fleet, as long as its context."""

    def __init__(self, url: str, folder: Path, *, routers: int = 1, presets: str = PRESETS, **settings: object) -> None:
        """`settings` are those of the routers."""
        self.url = url
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "presets.yaml").write_text(presets)
        self.members = {
            name: PlayedWorker(
                url, folder / name, name,
                ENGINE="echo", MODEL_NAME=name, CTX_SIZE=context, WORKER_CONCURRENCY=CONCURRENCY,
            )
            for name, context in CONTEXTS.items()
        }  # fmt: skip
        self.http = f"http://127.0.0.1:{(port := free_port())}"
        settings = {"PRESETS_FILE": folder / "presets.yaml", "HTTP_ADDR": port} | settings
        self.routers = [WorkerProcess(url, folder / "router", "router", n, **settings) for n in range(1, routers + 1)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        started = [*self.members.values(), *self.routers[:1]]
        for one in started:
            self._stack.callback(one.end)
            one.start(wait=False)
        for one in started:
            one.wait_for("online")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_router(self) -> WorkerProcess:
        """The next one starts."""
        found = next(one for one in self.routers if one.process is None)
        self._stack.callback(found.end)
        return found.start()

    # -- asking ------------------------------------------------------------------------------------------------

    async def ask(
        self, golek: Golek, row: Row, req_id: str, prompt: str, *, streamed: bool, deadline_s: float, **more: Any
    ) -> Told:
        """One request, and what its caller is told. Its id stands in its text: what is equal would be run once."""
        prompt = f"{req_id}: {prompt}"
        told = Told(row, req_id, deadline_s, pieces="" if streamed else None)
        began, asked = time.monotonic(), row.wish() | {"req_id": req_id, "deadline": deadline_s} | more
        try:
            if streamed:
                async with golek.stream(row.model, prompt, **asked) as stream:
                    async for piece in stream:
                        told.pieces = (told.pieces or "") + piece
                told.reply = stream.reply
            else:
                told.reply = await golek.ask(row.model, prompt, **asked)
        except InferenceServiceError as error:
            told.error = error
        told.took_s, told.ended_at = time.monotonic() - began, time.time()
        return told

    async def until_active(self, golek: Golek, model: str, count: int, patience_s: float = 10.0) -> None:
        """Wait until so many jobs run at a model's worker, and stay: one that only counts tokens is soon over."""
        seen = 0
        async with asyncio.timeout(patience_s):
            while seen < STAYS:
                seen = seen + 1 if (await golek.health(model)).active == count else 0
                await asyncio.sleep(0.02)

    async def until_hung(self, name: str, fault: str, count: int, patience_s: float = 10.0) -> None:
        """Wait until so many steps of a fault's requests have begun to hang (HANGS_FIRST) at a member."""
        async with asyncio.timeout(patience_s):
            while len(list((self.folder / name).glob(f"{played_worker.HUNG}{fault}-*"))) < count:
                await asyncio.sleep(0.02)

    # -- what is left behind -----------------------------------------------------------------------------------

    def rows(self, name: str, req_id: str) -> list[dict[str, Any]]:
        """What the log of a member, or of the routers, has of a request, by its id or by that which stands in its text;
        without what only counted tokens.
        """
        where, values = "req_id = ? OR raw_input LIKE ?", (req_id, f"%{req_id}%")
        found = []
        for path in (self.folder / name / "logs").glob("*.sqlite"):
            with sqlite3.connect(path) as log:
                log.row_factory = sqlite3.Row
                found += [dict(row) for row in log.execute(f"SELECT * FROM requests WHERE {where}", values)]
        return [row for row in found if not (row["step"] or "").startswith("count/")]

    def ended(self, name: str, req_id: str, step: str) -> list[str]:
        """How the jobs of a step ended, by the log of a member, or of the routers where the step is none."""
        return [row["status"] for row in self.rows(name, req_id) if (row["step"] or "") == step]

    async def left(self, client: Client, model: str) -> tuple[int, int, int]:
        """Jobs in a model's stream; of its consumer: those that wait, and those that somebody has."""
        stream, consumer = subjects.job_stream(model), subjects.consumer(model)
        lies = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}")).data)["state"]["messages"]
        info = json.loads((await client.request(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}")).data)
        return lies, info["num_pending"], info["num_ack_pending"]

    async def settle(self, client: Client, patience_s: float = 10.0) -> dict[str, tuple[int, int, int]]:
        """What is left in the streams of all once nothing is, or after a while."""
        until = time.monotonic() + patience_s
        while True:
            found = {name: await self.left(client, name) for name in (*MODELS, "router")}
            if not any(map(any, found.values())) or time.monotonic() > until:
                return found
            await asyncio.sleep(0.05)
