"""Does a known field stand where it means nothing?

Unknown fields are tolerated, but `temperature` beside `params` is a known one in the wrong place. The structs here are
what a request is read into: each has the other one's fields too, which may be nothing but null there. So the search
for them is a part of reading (0.1 µs), and what is found is refused as a wrong type is (problems.py).
"""

from typing import Any

import msgspec

from golek_wire.requests import InferenceRequest, Params


def _trapped(kind: type[msgspec.Struct], other: type[msgspec.Struct], **read: Any) -> Any:
    """A struct that is equal to one of `kind`, in which fields of `other` are an error."""
    own = kind.__struct_fields__

    def equal(self: msgspec.Struct, value: object) -> bool:
        return isinstance(value, kind) and all(getattr(self, name) == getattr(value, name) for name in own)

    fields = [(name, None, None) for name in other.__struct_fields__ if name not in own]
    inside = [(name, kind, msgspec.field(default_factory=kind)) for name, kind in read.items()]
    return msgspec.defstruct(
        kind.__name__, [*fields, *inside], bases=(kind,), namespace={"__eq__": equal, "__hash__": None},
        module=__name__, frozen=True, omit_defaults=True,
    )  # fmt: skip


_Params = _trapped(Params, InferenceRequest)
REQUEST: type[InferenceRequest] = _trapped(InferenceRequest, Params, params=_Params)
"""An `InferenceRequest` that has no field of `Params` beside them, and none of its own in them."""
