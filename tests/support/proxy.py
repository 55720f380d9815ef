"""A TCP proxy before a server: it cuts connections and keeps new ones out, as a network does."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on, both ways, until it is cut. Use as `async with`."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._at = 0
        self.cut_before = b""
        """The connection over which the server would send this is cut in its place, once."""

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._at}"

    def cut(self) -> None:
        """Break all connections; new ones are refused until `heal`."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()
        self._pairs.clear()

    async def heal(self) -> None:
        """Let connections through, at the same port as before."""
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", self._at)
        self._at = self._listening.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._pairs.append((writer, back))
        if self._listening is None:
            self.cut()
        for source, sink, watched in ((reader, back, False), (there, writer, True)):
            task = asyncio.create_task(self._pass_on(source, sink, watched=watched))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, watched: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if watched and self.cut_before and self.cut_before in data:
                    self.cut_before = b""
                    self.cut()
                    return
                sink.write(data)
                await sink.drain()
        sink.close()
