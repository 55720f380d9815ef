"""How is a server asked what is not a request: whether it is well, what it has, what it measures?"""

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from golek_wire import codec
from golek_wire.errors import DeadlineExceededError, InferenceServiceError, ProviderFailedError
from golek_worker.providers.openai_answer import decoded
from golek_worker.providers.transport import Server, Transport

PATIENCE_S: Final = 5.0
"""For a question that costs the server nothing."""
SILENT: Final = "silent"
"""Detail of an error that a server's silence is."""


class Site:
    """One server, below its root."""

    def __init__(self, name: str, root: str, key: str) -> None:
        self.root = root
        self.key = key
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._transport = Transport(Server(name, root), headers, key)

    async def asked(self, method: str, path: str, body: Any = None, patience_s: float = PATIENCE_S) -> bytes:
        """The whole answer. Raises InferenceServiceError as `Transport.asked` does.

        A server that was silent for so long may be busy, and may answer later: ProviderFailedError with SILENT.
        """
        until = asyncio.get_running_loop().time() + patience_s
        data = codec.encode(body) if body is not None else None
        try:
            async with self._transport.asked(method, path, data, until) as answering:
                return await answering.whole()
        except DeadlineExceededError:
            name = self._transport.server.name
            said = f"{name} did not answer {method} {path} in {patience_s:g} s"
            raise ProviderFailedError(said, provider=name, **{SILENT: True}) from None

    async def told(self, method: str, path: str, body: Any = None, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The JSON object that it answers. Raises as `asked` does, also for what is none."""
        return decoded(self._transport.server.name, await self.asked(method, path, body, patience_s))

    async def trouble(self, path: str) -> InferenceServiceError | None:
        """Why it does not say that it is well; None where it does."""
        try:
            await self.asked("GET", path)
        except InferenceServiceError as error:
            return error
        return None

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()


def root_of(url: str) -> str:
    """`url` without the version behind it, as people copy it from elsewhere."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def port_of(url: str) -> int:
    """The port that `url` names; 0 for none."""
    return urlsplit(url).port or 0 if url else 0


def measured(text: str) -> dict[str, float]:
    """What Prometheus would read of `text`: the sum over all labels of each name; what is no number is left out."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("{")
        value = rest.rpartition("}")[2] if rest else ""
        if not rest:
            name, _, value = line.partition(" ")
        try:
            number = float(value.split()[0])
        except (ValueError, IndexError):
            continue
        found[name] = found.get(name, 0.0) + number
    return found
