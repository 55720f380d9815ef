"""How may a request in OpenAI's form say how its text is sampled?

OpenAI's own fields and, beside them under their own names, all others of `requests.Params`: `top_k`, `min_p`, `grammar`
and so on. What is absent or null takes the model's default, as it does on the bus. `reader` makes the decoder of a
request's struct, which gets those fields that the struct does not name itself.
"""

from typing import Any, Final, Optional, TypeVar

import msgspec

from golek_wire.requests import Params

SEEDS: Final = 2**32 - 1
"""The bus has so many seeds; OpenAI's are any 64-bit numbers and are folded into them."""
_NAMES: Final = Params.__struct_fields__

Request = TypeVar("Request", bound=msgspec.Struct)


def reader(kind: type[Request]) -> "msgspec.json.Decoder[Request]":
    """Reads a request of `kind` with all fields of `Params`, each of which may also be null."""
    own = kind.__struct_fields__
    # `X | None` does not know `Annotated` types that msgspec gives back.
    fields = [(one.name, Optional[one.type], None) for one in msgspec.structs.fields(Params) if one.name not in own]  # noqa: UP045
    whole = msgspec.defstruct(
        kind.__name__, fields, bases=(kind,), module=__name__, frozen=True, kw_only=True, omit_defaults=True,
        namespace={"made_of": Params},
    )  # fmt: skip
    return msgspec.json.Decoder(whole)


def drawn(request: msgspec.Struct, **own: Any) -> Params:
    """How the text of a request is sampled, once it was read by a `reader`; `own` are values of another form there."""
    given = {name: value for name in _NAMES if (value := getattr(request, name)) is not None}
    given.update(own)
    return Params(**{name: value for name, value in given.items() if value is not None})


def folded(seed: int | None) -> int | None:
    """A seed of the bus: the same one for the same number."""
    return None if seed is None else seed % SEEDS
