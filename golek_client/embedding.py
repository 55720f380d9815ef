"""How does a list of texts become requests, and their replies one list of vectors?

A message of the bus is at most a MiB, so a long list travels in parts, one after the other: each as many texts as fit
into a message, at most 2048. No worker then holds the whole list, and none is busy with it alone. A single text that no
message carries is a part of its own and goes by reference. Where the vectors are more than a reply may have, the worker
refuses the part and says how many texts fit; from there on parts are that long.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypedDict, cast

import msgspec
from msgspec import UNSET

from golek_wire import codec
from golek_wire.errors import BadRequestError, InternalError, PayloadTooLargeError, from_body
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.requests import INPUTS_LIMIT
from golek_wire.routing import CacheWish, RouteWish

DECIMALS = 7
_ITEM = re.compile(r"input\[(\d+)\]")
Ask = Callable[[bytes, str], Awaitable[EmbeddingReply]]
"""Sends one request, and is told which part of the texts that has: nothing for all. Raises what the fleet answers."""


class EmbedOptions(TypedDict, total=False):
    """Keyword arguments of `embed`. What is left out, or None, takes the model's default."""

    dimensions: int | None
    """Keep only the first so many numbers of each vector, as a unit vector again; for models trained for that."""
    encoding_format: Literal["float", "base64"] | None
    """What `data` holds: lists of numbers (the default), or base64 of little-endian float32."""
    req_id: str | None
    """A label of at most 128 printable characters, repeated in the reply and the logs."""
    priority: int | None
    """1 low, 2 normal, 3 high; used by a fleet that queues by priority."""
    reply_to: str | None
    """A subject where the answer is published as well; then all texts must fit into one request."""
    metadata: dict[str, Any] | None
    user: str | None
    """As in `Options`, as are the next two."""
    cache: CacheWish | dict[str, Any] | None
    route: RouteWish | dict[str, Any] | None


class Question:
    """Texts, and how their vectors are wanted."""

    def __init__(self, texts: str | Sequence[str], options: EmbedOptions) -> None:
        """Raises BadRequestError for what a worker would refuse, TypeError for a keyword that does not exist."""
        unknown = options.keys() - EmbedOptions.__annotations__.keys()
        if unknown:
            raise TypeError(
                f"unexpected keyword {', '.join(unknown)}; there is {', '.join(EmbedOptions.__annotations__)}"
            )
        if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
            raise BadRequestError(
                f"input: a text, or a list of texts, was expected, got `{type(texts).__name__}`", param="input"
            )
        codec.check_texts(texts)
        self._as_text = isinstance(texts, str)
        self._texts = [_json(text) for text in ([texts] if isinstance(texts, str) else texts)]
        self._fields = {name: value for name, value in cast("dict[str, Any]", options).items() if value is not None}
        self._floats = self._fields.get("encoding_format", "float") == "float"
        self._undivided = "reply_to" in self._fields
        if self._floats and not self._undivided:
            self._fields["encoding_format"] = "base64"  # half the bytes; who listens at `reply_to` gets what was asked
        codec.decode_embedding(self._payload(0, min(1, len(self._texts)), 1.0))

    async def answer(self, ask: Ask, room: int, remaining: Callable[[], float]) -> EmbeddingReply:
        """The vectors of all texts, in their order.

        `room` is the bytes of the largest message, `remaining` tells the seconds until the deadline. Raises
        InternalError for an answer with more or fewer vectors than texts.
        """
        if self._undivided and len(self._texts) > INPUTS_LIMIT:
            raise BadRequestError(
                f"reply_to: {len(self._texts)} texts need more than one request; at most {INPUTS_LIMIT} at a time",
                param="reply_to",
            )
        replies: list[EmbeddingReply] = []
        start, most = 0, INPUTS_LIMIT
        while start < len(self._texts):
            end = self._end(start, most, room)
            try:
                part = "" if end - start == len(self._texts) else f"{start}-{end}"
                reply = await ask(self._payload(start, end, remaining()), part)
            except PayloadTooLargeError as error:
                fits = error.details.get("fits")
                if self._undivided or not isinstance(fits, int) or not 0 < fits < end - start:
                    raise
                most = fits
                continue
            except BadRequestError as error:
                raise _counted_on(error, start) from None
            if len(reply.data) != end - start:
                raise InternalError(
                    f"the answer is not Golek's: {len(reply.data)} vectors came for {end - start} texts"
                )
            replies.append(reply)
            start = end
        return joined(replies, floats=self._floats)

    def _end(self, start: int, most: int, room: int) -> int:
        """Where the part that begins at `start` ends: after `most` texts, or where `room` bytes are full.

        One text of more bytes is a part of its own, and so is what must not be divided: these go by reference.
        """
        if self._undivided:
            return len(self._texts)
        left = room - self._envelope()
        for number in range(start, min(start + most, len(self._texts))):
            left -= len(self._texts[number]) + 1
            if left < 0:
                return max(number, start + 1)
        return min(start + most, len(self._texts))

    def _envelope(self) -> int:
        """Bytes of a request without its texts."""
        return len(self._payload(0, 0, 86_400.0))

    def _payload(self, start: int, end: int, seconds: float) -> bytes:
        texts = [msgspec.Raw(text) for text in self._texts[start:end]]
        asked = texts[0] if self._as_text and texts else texts
        try:
            return codec.encode({**self._fields, "input": asked, "deadline_ms": max(1, round(seconds * 1000))})
        except (TypeError, UnicodeEncodeError, msgspec.EncodeError) as error:
            raise BadRequestError(f"The request cannot be written as JSON: {error}") from None


def joined(replies: list[EmbeddingReply], *, floats: bool) -> EmbeddingReply:
    """One reply of the replies to consecutive parts: vectors counted on, tokens and times added.

    With `floats` vectors are lists of numbers, whatever they travelled as. Raises InternalError for what is no vector.
    """
    shown: list[list[float] | str] = []
    try:
        for reply in replies:
            in_order = sorted(reply.data, key=lambda item: item.index)
            shown += [item.numbers if floats else item.embedding for item in in_order]
    except ValueError as error:
        raise InternalError(f"the answer is not Golek's: a vector that is no base64 of float32 ({error})") from None
    prompt = sum(reply.usage.prompt_tokens for reply in replies)
    total = sum(reply.usage.total_tokens for reply in replies)
    ms = sum(reply.ms for reply in replies)
    data = [Embedding(vector, index) for index, vector in enumerate(shown)]
    uses = {reply.cache for reply in replies}
    first, costs = replies[0], [reply.cost_usd for reply in replies if reply.cost_usd is not UNSET]
    return EmbeddingReply(
        data, first.model, EmbeddingUsage(prompt, total), first.req_id, ms, ms,
        route=first.route, cost_usd=round(sum(costs), 9) if costs else UNSET,
        cache=next((use for use in ("miss", "bypass", "hit") if use in uses), UNSET),
    )  # fmt: skip


def _counted_on(error: BadRequestError, start: int) -> BadRequestError:
    """`error` about a text of a part that begins with text `start`, naming the text by its place in the whole list."""
    param = error.details.get("param")
    found = _ITEM.fullmatch(param) if isinstance(param, str) else None
    if found is None or start == 0:
        return error
    named = f"input[{start + int(found[1])}]"
    return cast(
        "BadRequestError",
        from_body(error.code, error.message.replace(found[0], named), error.details | {"param": named}),
    )


def as_json(reply: EmbeddingReply) -> str:
    """`reply` as a person reads it: in one line, numbers with as many decimals as a float32 holds."""
    data = [Embedding([round(number, DECIMALS) for number in item.numbers], item.index) for item in reply.data]
    return codec.encode(msgspec.structs.replace(reply, data=data)).decode()


def _json(text: str) -> bytes:
    try:
        return codec.encode(text)
    except UnicodeEncodeError as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}", param="input") from None
