"""What do the chunks of a completion of OpenAI's API say, of a chat or of a text, or a whole one?

Servers that speak this dialect differ, so nothing is believed to be there: docs/router.md lists what is known to be
missing, doubled or of another type, and each has its test. Unknown fields are passed over.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from golek_wire.codec import encode
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage, FinishReason
from golek_wire.requests import EmbeddingRequest
from golek_wire.vectors import packed, unpacked
from golek_worker.providers import failures, growing
from golek_worker.providers.base import Piece
from golek_worker.providers.failures import broken
from golek_worker.providers.growing import Growing, Usage

Json = dict[str, Any]
FINISHES: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "refusal": "content_filter",
}
"""By the server's word in small letters; all others are `stop`."""
FAILED: Final = ("error", "malformed_function_call", "function_call_filter")
"""Words of servers for an answer that is none; asking again helps."""
DONE: Final = b"[DONE]"


class Answer:
    """A chat completion that is being read: `chunk` after `chunk`, or one `whole`."""

    def __init__(
        self,
        provider: str,
        job_id: str,
        choices: int,
        key: str = "",
        before: str = "",
        stops: Sequence[str] = (),
        begun: str = "",
    ) -> None:
        """`before` is a text that this server repeats before it goes on with it; the last two are `Growing`'s."""
        self._provider = provider
        self._key = key
        self.texts = [Growing(index, job_id, before, stops, begun) for index in range(choices)]
        self.usage = Usage()
        self.is_done = False
        """Whether the server said that there is no more."""

    @property
    def is_cut(self) -> bool:
        """Whether nothing more of it is wanted."""
        return all(text.is_cut for text in self.texts)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.is_done or all(text.finish is not None for text in self.texts)

    def chunk(self, data: bytes) -> list[Piece]:
        """What the data of an event adds. Raises the error that it tells of, and ProviderFailedError for no JSON."""
        if data.strip() == DONE:
            self.is_done = True
            return []
        return self._read(data, "delta")

    def whole(self, body: bytes) -> list[Piece]:
        """What an answer says that comes as a whole. Raises as `chunk` does."""
        pieces = self._read(body, "message")
        self.is_done = True
        return pieces

    def close(self) -> list[Piece]:
        """What is still to be said once all was read. Raises ProviderFailedError where the end is missing."""
        if not self.is_whole:
            raise broken(self._provider, "broke off before the end of its answer")
        if all(text.is_blank for text in self.texts):
            raise broken(self._provider, "ended its answer without having said anything")
        return [piece for text in self.texts for piece in text.close()]

    def _read(self, data: bytes, where: str) -> list[Piece]:
        told = decoded(self._provider, data)
        if told.get("error"):
            raise failures.of_event(self._provider, told["error"], self._key)
        if isinstance(told.get("usage"), dict):
            self._count(told["usage"])
        elif isinstance(told.get("timings"), dict):
            self._count_so_far(told["timings"])
        choices = told.get("choices")
        pieces: list[Piece] = []
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                pieces += self._choice(choice, where)
        return pieces

    def _choice(self, choice: Json, where: str) -> list[Piece]:
        index = choice.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < len(self.texts):
            return []  # a text that nobody asked for
        text = self.texts[index]
        said = choice.get(where) or choice.get("message") or choice.get("delta")
        if said is None and isinstance(choice.get("text"), str):
            said = {"content": choice["text"]}
        pieces = self._said(text, said, choice.get("logprobs")) if isinstance(said, dict) else []
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish(text, reason)
        stop = choice.get("stop_reason")
        if isinstance(stop, str):  # vLLM's: the stop string
            text.stopped_by = stop
        return pieces

    def _said(self, text: Growing, said: Json, logprobs: Any) -> list[Piece]:
        words, thoughts = _texts(said.get("content"))
        for name in ("reasoning_content", "reasoning"):
            if isinstance(said.get(name), str):
                thoughts += said[name]
                break
        if isinstance(said.get("refusal"), str) and said["refusal"]:
            words += said["refusal"]
            text.finish = "content_filter"
        pieces = text.say(words, thoughts, growing.logprobs(logprobs))
        calls = said.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                pieces += self._call(text, call)
        former = said.get("function_call")
        if isinstance(former, dict):
            pieces += self._call(text, {"index": 0, "function": former})
        return pieces

    def _call(self, text: Growing, call: Json) -> list[Piece]:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        number, identifier, name = call.get("index"), call.get("id"), function.get("name")
        return text.call(
            number if isinstance(number, int) else None,
            identifier if isinstance(identifier, str) else "",
            name if isinstance(name, str) else "",
            _arguments(function.get("arguments")),
        )

    def _finish(self, text: Growing, reason: str) -> None:
        word = reason.lower()
        if text.is_cut:
            return
        if word.startswith(FAILED):
            raise broken(self._provider, f"ended its answer with {reason[:60]!r}")
        if text.finish != "content_filter":
            text.finish = FINISHES.get(word, "stop")

    def _count(self, told: Json) -> None:
        """Tokens. Thoughts that a server leaves out of those written are in its total."""
        before, written, both = (_count(told, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
        details = told.get("prompt_tokens_details")
        cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
        if before or written or both:
            self.usage = Usage(before, max(written, both - before), cached, is_told=True)

    def _count_so_far(self, told: Json) -> None:
        """Tokens, as llama.cpp's server tells them while it writes."""
        cached = _count(told, "cache_n")
        self.usage = Usage(cached + _count(told, "prompt_n"), _count(told, "predicted_n"), cached, is_told=True)


def vectors(provider: str, body: bytes, request: EmbeddingRequest, model: str, ms: int) -> EmbeddingReply:
    """The reply that an answer of POST /embeddings makes. Raises ProviderFailedError for one that is none."""
    told = decoded(provider, body)
    if told.get("error"):
        raise failures.of_event(provider, told["error"])
    data = told.get("data")
    count = len(request.inputs)
    if not isinstance(data, list) or len(data) != count or not all(isinstance(one, dict) for one in data):
        raise broken(provider, f"did not give {count} vectors for {count} texts")
    ordered: list[list[float]] = [[]] * count
    for place, one in enumerate(data):
        index = one.get("index", place)
        ordered[index if isinstance(index, int) and 0 <= index < count else place] = _vector(provider, one)
    if not all(ordered):
        raise broken(provider, "gave two vectors for one text, or an empty one")
    usage = told.get("usage")
    tokens = _count(usage, "prompt_tokens") or _count(usage, "total_tokens") if isinstance(usage, dict) else 0
    tokens = tokens or -(-sum(len(text.encode()) for text in request.inputs) // growing.BYTES_PER_TOKEN)
    return EmbeddingReply(
        [Embedding(packed(one) if request.encoding_format == "base64" else one, i) for i, one in enumerate(ordered)],
        model, EmbeddingUsage(tokens, tokens), request.req_id, ms, ms,
    )  # fmt: skip


def decoded(provider: str, data: bytes) -> Json:
    """A JSON object. Raises ProviderFailedError for what is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken(provider, "sent what is no JSON") from None
    if isinstance(found, list) and found:
        found = found[0]  # Gemini's errors come in a list
    if not isinstance(found, dict):
        raise broken(provider, "sent JSON that is no object")
    return found


def _vector(provider: str, one: Json) -> list[float]:
    told = one.get("embedding")
    try:
        return unpacked(told) if isinstance(told, str) else msgspec.convert(told, list[float])
    except (ValueError, msgspec.ValidationError):
        raise broken(provider, "gave a vector that is none") from None


def _texts(content: Any) -> tuple[str, str]:
    """Text and thoughts of a content, which may be a list of parts."""
    if isinstance(content, str):
        return content, ""
    words = thoughts = ""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            words += part["text"]
        elif isinstance(part, dict) and part.get("thinking"):
            inner = part["thinking"]
            thoughts += inner if isinstance(inner, str) else _texts(inner)[0]
    return words, thoughts


def _arguments(told: Any) -> str:
    """The arguments of a call as text; some servers send the object itself."""
    if isinstance(told, str):
        return told
    return "" if told is None else encode(told).decode()


def _count(told: Json, name: str) -> int:
    return growing.believed(told.get(name))
