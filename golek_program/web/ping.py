"""Does something answer over HTTP?"""

import asyncio
import contextlib
import ssl
from typing import Final
from urllib.parse import urlsplit

PING_S: Final = 2.0


async def answers(where: str, path: str, seconds: float = PING_S) -> bool:
    """Whether `path` is answered with 200 at this URL of our own; its certificate proves nothing to us."""
    parts = urlsplit(where)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError):  # ValueError: a line without end
        return False
