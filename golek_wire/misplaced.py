"""Does a known field stand where it means nothing?

Unknown fields are tolerated, but `temperature` beside `params` is a known one in the wrong place. The structs here are
what a request is read into: each has the other one's fields too, which may be nothing but null there. So the search
for them is a part of reading (0.1 µs), and what is found is refused as a wrong type is (problems.py).

A `policy` beside `route` is refused as well, in every form of a request (`check_route`, where there is no such
struct): whoever wrote it means to keep the request from somebody.
"""

from typing import Any, Final

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Params
from golek_wire.routing import RouteWish

_OF_ROUTE: Final = {name: f'"{name}"'.encode() for name in RouteWish.__struct_fields__}
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_route(payload: bytes) -> None:
    """Raise BadRequestError where a field of `route` stands beside it, in a request that was read."""
    suspects = [name for name, quoted in _OF_ROUTE.items() if quoted in payload]
    found = _top.decode(payload) if suspects else {}
    for name in suspects:
        if name in found and bytes(found[name]) != b"null":
            raise BadRequestError(f'{name}: belongs into `route`, as {{"route": {{"{name}": …}}}}', param=name)


def _trapped(kind: type[msgspec.Struct], others: list[type[msgspec.Struct]], **read: Any) -> Any:
    """A struct that is equal to one of `kind`, in which fields of `others` are an error."""
    own = kind.__struct_fields__

    def equal(self: msgspec.Struct, value: object) -> bool:
        return isinstance(value, kind) and all(getattr(self, name) == getattr(value, name) for name in own)

    names = [name for other in others for name in other.__struct_fields__]
    fields = [(name, None, None) for name in names if name not in own]
    inside = [(name, kind, msgspec.field(default_factory=kind)) for name, kind in read.items()]
    return msgspec.defstruct(
        kind.__name__, [*fields, *inside], bases=(kind,), namespace={"__eq__": equal, "__hash__": None},
        module=__name__, frozen=True, omit_defaults=True,
    )  # fmt: skip


_Params = _trapped(Params, [InferenceRequest])
REQUEST: type[InferenceRequest] = _trapped(InferenceRequest, [Params, RouteWish], params=_Params)
"""An `InferenceRequest` with no field of `Params` or `route` beside them, and none of its own in `params`."""
