"""How does one broker listen on two ports, as the document has it?

A thread takes connections on the second port and passes their bytes to the first.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def forward(port: int, to: int) -> Iterator[None]:
    """Pass connections on 127.0.0.1:`port` to 127.0.0.1:`to` while the block runs."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(lambda r, w: _pass(r, w, to), "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: int) -> None:
    with contextlib.suppress(OSError):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        return
    writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
