"""How does a body that no message can carry lie in the bucket `GOLEK_OBJECTS`, and an image in one of its own?

As any object of a NATS object store (ADR-20): its pieces one after the other on a subject of their own, and a message
that describes them on a subject made of its name. `nats object put GOLEK_OBJECTS FILE` writes the same.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
"""

import base64
import binascii
import re
from typing import Any, Final

from msgspec import Struct

from golek_wire.subjects import OBJECTS_BUCKET

STREAM: Final = f"OBJ_{OBJECTS_BUCKET}"
SUBJECTS: Final = (f"$O.{OBJECTS_BUCKET}.C.>", f"$O.{OBJECTS_BUCKET}.M.>")
"""Pieces, and what describes them."""
PIECE_SIZE: Final = 128 * 1024
"""Bytes of a piece, as usual in object stores."""
NAME_LIMIT: Final = 128

_DIGEST = "SHA-256="
_IS_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ObjectInfo(Struct, frozen=True, omit_defaults=True):
    """What describes an object; its newest message counts."""

    name: str
    bucket: str = ""
    nuid: str = ""
    """The last token of the pieces' subject. Whoever wrote the object chose it: see `is_whole`."""
    size: int = 0
    chunks: int = 0
    digest: str = ""
    """`SHA-256=` and the digest of the whole in base64 of the URL kind."""
    mtime: str = ""
    deleted: bool = False
    options: dict[str, Any] | None = None
    """`link` when the object stands for another one."""

    @property
    def is_whole(self) -> bool:
        """True when it has content of its own, and the subject of its pieces is nobody else's."""
        is_link = self.options is not None and self.options.get("link") is not None
        return not self.deleted and not is_link and self.size > 0 and _IS_ID.fullmatch(self.nuid) is not None

    @property
    def sha256(self) -> str:
        """Of the whole, in hex; empty when it does not say so."""
        if not self.digest.upper().startswith(_DIGEST):
            return ""
        try:
            return base64.urlsafe_b64decode(self.digest[len(_DIGEST) :]).hex()
        except (binascii.Error, ValueError):
            return ""


def described(name: str, size: int, pieces: int, sha256: bytes) -> ObjectInfo:
    """The description of an object whose pieces lie under its own name."""
    return ObjectInfo(name, OBJECTS_BUCKET, name, size, pieces, _DIGEST + base64.urlsafe_b64encode(sha256).decode())


def is_bucket(bucket: str) -> bool:
    """True for what NATS lets a bucket be called."""
    return _IS_ID.fullmatch(bucket) is not None


def stream(bucket: str) -> str:
    """The stream that holds a bucket."""
    return f"OBJ_{bucket}"


def is_name(name: str) -> bool:
    """True when a request may name an object so: 1 to 128 printable characters, no blanks."""
    return 0 < len(name) <= NAME_LIMIT and name.isprintable() and not any(map(str.isspace, name))


def piece_subject(nuid: str, bucket: str = OBJECTS_BUCKET) -> str:
    """Where the pieces of an object lie."""
    return f"$O.{bucket}.C.{nuid}"


def info_subject(name: str, bucket: str = OBJECTS_BUCKET) -> str:
    """Where the description of an object lies."""
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
