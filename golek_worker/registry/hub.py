"""What does the hub say of a file, and how are its bytes read?

Requests, tokens and endpoint are those of huggingface_hub: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, proxies. Only
the bytes are read here, because its own download cannot go on where another process ended: docs/decisions/0009.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from golek_worker.registry.remote import BrokenOffError, RangeIgnoredError, Remote
from golek_worker.registry.report import DownloadError
from golek_worker.registry.source import HubSource, RepoSource, Source

SHA256 = re.compile(r"[0-9a-f]{64}")
BLOB = re.compile(r"[0-9a-f]{40}")


def files(place: RepoSource) -> list[HubSource]:
    """All files of a repository, as they are at the commit that it is at now. Raises DownloadError."""
    from huggingface_hub import HfApi

    with _told_plainly(place):
        try:
            found = HfApi().model_info(place.path, revision=place.revision)
        except (ValueError, KeyError, TypeError):
            raise DownloadError(f"{place}: {endpoint()} answers like no hub: is HF_ENDPOINT right?") from None
    return [HubSource(one.rfilename, place.path, found.sha or place.revision) for one in found.siblings or []]


def describe(place: Source) -> Remote:
    """Ask the hub for size, hash and commit. Raises DownloadError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    assert isinstance(place, HubSource)
    with _told_plainly(place):
        found = get_hf_file_metadata(hf_hub_url(place.repo, place.path, revision=place.revision))
    if found.size is None or found.etag is None or found.commit_hash is None:
        raise DownloadError(
            f"{place}: {endpoint()} answers like no hub: without size, ETag or commit; is HF_ENDPOINT right?"
        )
    return Remote(
        source=place,
        url=hf_hub_url(place.repo, place.path, revision=found.commit_hash),
        size=found.size,
        etag=found.etag,
        sha256=found.etag if SHA256.fullmatch(found.etag) else None,  # the hub has one for each large file
        blob=found.etag if BLOB.fullmatch(found.etag) else None,
    )


def read(file: Remote, offset: int) -> Iterator[bytes]:
    """The bytes of `file` from `offset` on, as they come.

    Raises BrokenOffError, RangeIgnoredError, DownloadError.
    """
    assert isinstance(file.source, HubSource)
    import httpx2
    from huggingface_hub import constants, get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # imported there without `as`

    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    patience = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    with _told_plainly(file.source):
        try:
            with get_session().stream("GET", file.url, headers=headers, timeout=patience) as response:
                if offset and response.status_code in (200, 416):
                    raise RangeIgnoredError
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise BrokenOffError(f"status {response.status_code}")
                hf_raise_for_status(response)
                yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise BrokenOffError(str(error) or type(error).__name__) from error


def endpoint() -> str:
    """Which hub is asked."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def _told_plainly(place: HubSource | RepoSource) -> Iterator[None]:
    """Turns what huggingface_hub raises into a DownloadError that names repository, file and way out."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise DownloadError(
            f"{place}: the repository {place.repo} is gated: its owner admits people one by one. Ask for access at "
            f"{endpoint()}/{place.repo}, then set HF_TOKEN to a token of that account ({_token_now()})"
        ) from None
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{place}: no repository {place.repo} at {endpoint()}, or a private one (the hub does not tell which; "
            f"status {error.response.status_code}). Check the name; for a private one set HF_TOKEN ({_token_now()})"
        ) from None
    except errors.RevisionNotFoundError:
        raise DownloadError(f"{place}: the repository {place.repo} has no revision {place.revision!r}") from None
    except errors.RemoteEntryNotFoundError:
        raise DownloadError(
            f"{place}: the repository {place.repo} has no file {place.path!r}; "
            f"{endpoint()}/{place.repo}/tree/{place.revision} lists what there is"
        ) from None
    except errors.HFValidationError as error:
        raise DownloadError(f"{place}: no name of a repository: {error}") from None
    except errors.OfflineModeIsEnabled:
        raise DownloadError(f"{place}: HF_HUB_OFFLINE forbids to ask {endpoint()}") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        denied = status in (401, 403)
        hint = f"the token was refused ({_token_now()})" if denied else "try again later"
        raise DownloadError(f"{place}: {endpoint()} answers with status {status} for {place.repo}; {hint}") from None
    except httpx2.HTTPError as error:
        raise DownloadError(
            f"{place}: {endpoint()} cannot be reached ({str(error) or type(error).__name__}). "
            "Check the network and HTTPS_PROXY; HF_ENDPOINT names another hub"
        ) from None


def _token_now() -> str:
    return "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
