"""How is a file of any web server read, and how is it seen that it changed meanwhile?

HEAD tells size and version (ETag, else Last-Modified); a server that refuses HEAD is asked for one byte. A download
goes on with Range and If-Range: RFC 9110, sections 13 and 14. A server that ignores them sends all from its beginning,
and then that is what counts.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from golek_worker.registry.remote import BrokenOffError, ChangedError, RangeIgnoredError, Remote
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import Source

if TYPE_CHECKING:
    import httpx2

PATIENCE_S = 30.0
"""Without a byte for so long, the connection counts as broken."""
_TOTAL = re.compile(r"bytes (?P<begin>\d+)-\d+/(?P<total>\d+)")
_PLAIN = {"Accept-Encoding": "identity"}


def describe(place: Source) -> Remote:
    """Ask for size and version. Raises DownloadError."""
    with _told_plainly(place), _client() as client:
        answer = client.head(place.text, headers=_PLAIN)
        size = _size(answer.headers)
        if answer.status_code in (400, 403, 405, 501) or (answer.is_success and size is None):
            with client.stream("GET", place.text, headers=_PLAIN | {"Range": "bytes=0-0"}) as one:
                answer, size = one, _total(one) if one.status_code == 206 else _size(one.headers)
    if not answer.is_success:
        raise _refused(place, answer.status_code)
    if size is None:
        raise DownloadError(
            f"{place}: the server does not say how large the file is, so it cannot be told whether it came whole; "
            "download it yourself and name it with MODEL_PATH"
        )
    return Remote(source=place, size=size, etag=_version(answer.headers))


def read(file: Remote, offset: int) -> Iterator[bytes]:
    """Its bytes from `offset` on. Raises BrokenOffError, RangeIgnoredError, ChangedError, DownloadError."""
    import httpx2

    headers = dict(_PLAIN)
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if file.etag and not file.etag.startswith("W/"):  # 13.1.5: a weak one must not be sent; it is compared below
            headers["If-Range"] = file.etag
    try:
        with _client() as client, client.stream("GET", file.source.text, headers=headers) as answer:
            if answer.status_code in (408, 429) or answer.status_code >= 500:
                raise BrokenOffError(f"status {answer.status_code}")
            if answer.status_code == 416 and offset:
                raise RangeIgnoredError
            if not answer.is_success:
                raise _refused(file.source, answer.status_code)
            if (now := _version(answer.headers)) and file.etag and now != file.etag:
                raise ChangedError
            if offset:
                _ensure_goes_on(file, offset, answer)
            yield from answer.iter_bytes()
    except httpx2.TransportError as error:
        raise BrokenOffError(str(error) or type(error).__name__) from error


def _ensure_goes_on(file: Remote, offset: int, answer: "httpx2.Response") -> None:
    """Raises RangeIgnoredError when the answer begins elsewhere, ChangedError when it is of a file of another size."""
    match = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match["begin"]) != offset:
        raise RangeIgnoredError
    if int(match["total"]) != file.size:
        raise ChangedError


def _client() -> "httpx2.Client":
    import httpx2

    return httpx2.Client(follow_redirects=True, timeout=PATIENCE_S)


def _size(headers: Mapping[str, str]) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and int(length) > 0 else None


def _total(answer: "httpx2.Response") -> int | None:
    match = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
    return int(match["total"]) if match else None


def _version(headers: Mapping[str, str]) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


@contextmanager
def _told_plainly(place: Source) -> Iterator[None]:
    import httpx2

    try:
        yield
    except httpx2.HTTPError as error:
        raise DownloadError(
            f"{place}: the server cannot be reached ({str(error) or type(error).__name__}). "
            "Check the URL, the network and HTTPS_PROXY"
        ) from None


def _refused(place: Source, status: int) -> DownloadError:
    if status in (404, 410):
        return DownloadError(f"{place}: no such file there (status {status})")
    if status in (401, 403):
        return DownloadError(
            f"{place}: the server refuses (status {status}); user and password go into the URL, "
            "https://<user>:<password>@<host>/…, and a signed URL may have run out"
        )
    return DownloadError(f"{place}: the server answers with status {status}; try again later")
