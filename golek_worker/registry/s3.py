"""How are the bytes of an object in S3 read?

By obstore, the extra `s3`. Keys, region and endpoint are the usual variables: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, AWS_SKIP_SIGNATURE=true for open buckets.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from golek_worker.registry.remote import BrokenOffError, ChangedError, Remote
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import S3Source, Source

if TYPE_CHECKING:
    from obstore.store import S3Store

CONNECT_S = 10
READ_S = 30
"""Without a byte for so long, the connection counts as broken."""
CHUNK = 1024 * 1024
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def describe(place: Source) -> Remote:
    """Ask for size and ETag. Raises DownloadError."""
    store = _store(place)
    import obstore

    with _told_plainly(place):
        found = obstore.head(store, place.path)
    return Remote(source=place, size=found["size"], etag=found["e_tag"] or "")


def read(file: Remote, offset: int) -> Iterator[bytes]:
    """Its bytes from `offset` on, of exactly the version that was described.

    Raises BrokenOffError, ChangedError, DownloadError.
    """
    store = _store(file.source)
    import obstore
    from obstore import exceptions

    options: obstore.GetOptions = {"range": {"offset": offset}} if offset else {}
    if file.etag:
        options["if_match"] = file.etag
    try:
        for chunk in obstore.get(store, file.source.path, options=options).stream(CHUNK):
            yield bytes(chunk)
    except exceptions.PreconditionError:
        raise ChangedError from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, FileNotFoundError) as error:
        raise _refused(file.source, error) from None
    except exceptions.BaseError as error:
        raise BrokenOffError(_first_line(error)) from error


def endpoint() -> str:
    """Who is asked; empty for AWS itself."""
    return next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")


def _store(place: Source) -> "S3Store":
    assert isinstance(place, S3Source)
    try:
        from obstore.store import S3Store
    except ModuleNotFoundError:
        raise DownloadError(f"{place}: reading from S3 needs the s3 extra: pip install 'golek[s3]'") from None
    return S3Store(
        place.bucket,
        config={"endpoint": endpoint()} if endpoint() else {},
        client_options={
            "allow_http": True,  # an endpoint on this machine has no certificate; AWS itself is asked by https
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=READ_S),
            "timeout": timedelta(days=1),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=CONNECT_S)},
    )


@contextmanager
def _told_plainly(place: Source) -> Iterator[None]:
    from obstore import exceptions

    try:
        yield
    except (exceptions.BaseError, FileNotFoundError) as error:  # what obstore raises for a missing object is built in
        raise _refused(place, error) from None


def _refused(place: Source, error: Exception) -> DownloadError:
    """What obstore raised, as a sentence with a way out."""
    from obstore import exceptions

    at = f" at {endpoint()}" if endpoint() else ""
    if isinstance(error, FileNotFoundError):
        return DownloadError(f"{place}: no such object{at}, or no such bucket")
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        now = "set" if os.environ.get("AWS_ACCESS_KEY_ID") else "not set"
        return DownloadError(
            f"{place}: access was denied{at}. AWS_ACCESS_KEY_ID is {now}; an open bucket wants AWS_SKIP_SIGNATURE=true"
        )
    return DownloadError(
        f"{place}: S3{at} cannot be asked ({_first_line(error)}). "
        "Check the network, AWS_REGION and AWS_ENDPOINT_URL, and that AWS_ACCESS_KEY_ID is set"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
