"""How do the bytes of a request's images come here?

Data are decoded, addresses asked, objects of the bus read; all images of a request at the same time. An address leads
at most REDIRECTS times to another one, and each of them must be allowed. Nothing is kept: a caller who asks twice is
fetched for twice.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from golek_wire.errors import BadRequestError, TemporaryResourceError
from golek_wire.images import STORED, Image
from golek_worker.vision import reading
from golek_worker.vision.addresses import check_bucket, check_url, is_public, private, unreadable
from golek_worker.vision.limits import Domain, Limits

if TYPE_CHECKING:
    from aiohttp import ClientError, ClientResponse
    from aiohttp.abc import AbstractResolver

REDIRECTS: Final = 3
AT_ONCE: Final = 4
"""Images of one request that are fetched at the same time."""
_LEADS_ON: Final = (301, 302, 303, 307, 308)
_HEADERS: Final = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "golek"}

Stored = Callable[[str, Callable[[int], None]], Awaitable[bytes]]
"""Reads the object of this name in VISION_BUCKET; the function raises for one that has too many bytes. Raises
BadRequestError where there is none."""


class Fetcher:
    """Images as this deployment takes them."""

    def __init__(self, limits: Limits, stored: Stored | None = None) -> None:
        """`stored` is None where there is no bus."""
        self.limits = limits
        self._stored = stored

    async def fetch(self, images: Sequence[Image], seen: dict[str, bytes]) -> None:
        """Put into `seen` what of these images is not there yet, by their URL.

        Raises BadRequestError and PayloadTooLargeError naming the field, TemporaryResourceError where a server does not
        answer.
        """
        reading.check(images, self.limits, decodes=False)
        room = asyncio.Semaphore(AT_ONCE)
        wanted = {image.url: image for image in reversed(images) if image.url not in seen}
        tasks = {url: asyncio.create_task(self._one(image, room)) for url, image in wanted.items()}
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        seen |= {url: task.result() for url, task in tasks.items()}
        reading.check_together(images, seen, self.limits)

    async def _one(self, image: Image, room: asyncio.Semaphore) -> bytes:
        if image.url.startswith("data:"):
            return reading.data(image, self.limits)
        async with room:
            if image.url.startswith(STORED):
                return await self._object(image)
            try:
                async with asyncio.timeout(self.limits.fetch_s):
                    return await self._asked(image)
            except TimeoutError:
                raise TemporaryResourceError(
                    f"{image.place}: {_host(image.url)} did not send the image within {self.limits.fetch_s:g} s "
                    "(VISION_FETCH_S); ask again, or send the image itself",
                    param=image.place,
                ) from None

    async def _object(self, image: Image) -> bytes:
        _, name = check_bucket(image, self.limits)

        def check_size(size: int) -> None:
            if size > self.limits.max_bytes:
                raise reading.too_large(image, size, self.limits)

        if self._stored is None:
            raise BadRequestError(
                f"{image.place}: there is no bus here to read {image.url[:64]!r} from", param=image.place
            )
        try:
            found = await self._stored(name, check_size)
        except BadRequestError as error:
            error.details["param"] = image.place
            error.message = error.message if image.place in error.message else f"{image.place}: {error.message}"
            raise
        return reading.checked(image, found, "", self.limits)

    async def _asked(self, image: Image) -> bytes:
        """What a server sends. Raises as `fetch`."""
        import aiohttp

        url, address = image.url, check_url(image, self.limits)
        for _ in range(REDIRECTS + 1):
            connector = aiohttp.TCPConnector(resolver=_resolver(image.place, address), limit=1, force_close=True)
            async with aiohttp.ClientSession(
                connector=connector, trust_env=False, headers=_HEADERS, auto_decompress=False
            ) as session:
                try:
                    async with session.get(url, allow_redirects=False) as response:
                        if response.status not in _LEADS_ON:
                            return await self._body(image, response)
                        url = urljoin(url, response.headers.get("location", ""))
                except aiohttp.InvalidURL:
                    raise unreadable(image, url) from None
                except aiohttp.ClientError as error:
                    raise _unreachable(image, url, error) from None
            address = check_url(image, self.limits, url)
        raise BadRequestError(
            f"{image.place}: {_host(image.url)} leads on more than {REDIRECTS} times; give the last address",
            param=image.place,
        )

    async def _body(self, image: Image, response: "ClientResponse") -> bytes:
        if response.status != 200:
            kind = TemporaryResourceError if response.status >= 500 or response.status == 429 else BadRequestError
            raise kind(
                f"{image.place}: {_host(str(response.url))} answers {response.status} {(response.reason or '')[:64]}",
                param=image.place,
                http_status=response.status,
            )
        limit = self.limits.max_bytes
        if response.content_length is not None and response.content_length > limit:
            raise reading.too_large(image, response.content_length, self.limits)
        found = bytearray()
        async for piece in response.content.iter_chunked(64 * 1024):
            found += piece
            if len(found) > limit:
                raise reading.too_large(image, None, self.limits)
        declared = response.headers.get("content-type", "").partition(";")[0].strip()
        return reading.checked(image, bytes(found), declared, self.limits, strict=False)


def _unreachable(image: Image, url: str, error: "ClientError") -> BadRequestError | TemporaryResourceError:
    why = getattr(error, "os_error", None)
    if isinstance(why, _PrivateError):
        return BadRequestError(str(why), param=image.place)
    return TemporaryResourceError(
        f"{image.place}: {_host(url)} cannot be asked ({type(error).__name__}); ask again, or send the image itself",
        param=image.place,
    )


class _PrivateError(OSError):
    """A name that only a wildcard allows stands for an address that is not public."""


def _resolver(place: str, domain: Domain) -> "AbstractResolver":
    """Finds the addresses of names; of what a wildcard allows, public ones alone, and what is connected to is one of
    those that were looked at.
    """
    import aiohttp
    from aiohttp.abc import ResolveResult

    class Resolver(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            if domain.is_wildcard:
                hidden = [one["host"] for one in found if not is_public(one["host"])]
                if hidden:
                    raise _PrivateError(private(place, host, hidden[0]))
            return found

    return Resolver()


def _host(url: str) -> str:
    return url.partition("?")[0][:128]
