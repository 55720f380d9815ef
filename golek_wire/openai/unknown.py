"""Which fields of a body does nobody here know?

They are tolerated, and go to a cloud as they are: a provider may have what this fleet has not heard of.
"""

from typing import Any, Final

import msgspec

from golek_wire.codec import encode

LIMIT: Final = 64 * 1024
"""Bytes of all unknown fields together that are passed on; with more none of them is."""
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def fields(payload: bytes, kind: type[msgspec.Struct]) -> dict[str, Any] | None:
    """The fields of `payload`, which was read as a `kind`, that `kind` does not have; None for none."""
    known = kind.__struct_fields__
    found = {name: raw for name, raw in _decoder.decode(payload).items() if name not in known and bytes(raw) != b"null"}
    if not found or sum(len(name) + len(bytes(raw)) for name, raw in found.items()) > LIMIT:
        return None
    try:
        plain: dict[str, Any] = msgspec.json.decode(encode(found))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # nobody asked for it to be readable until now
        return None
    return plain
