"""What do the events of a message of Anthropic's API say, or a whole one?"""

from typing import Any, Final

from golek_wire.codec import encode
from golek_wire.replies import FinishReason
from golek_worker.providers import failures, growing
from golek_worker.providers.base import Piece
from golek_worker.providers.failures import broken
from golek_worker.providers.growing import Growing, Usage
from golek_worker.providers.openai_answer import decoded

Json = dict[str, Any]
FINISHES: Final[dict[str, FinishReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""All others are `stop`."""


class Answer:
    """A message that is being read: event after event, or one `whole`."""

    def __init__(self, provider: str, job_id: str, key: str = "", before: str = "") -> None:
        """`before` is a text that the server may say again before it goes on."""
        self._provider = provider
        self._key = key
        self.texts = [Growing(0, job_id, before)]
        self._counts: dict[str, int] = {}
        self.is_cut = False
        self.is_done = False

    @property
    def usage(self) -> Usage:
        """Tokens: those that were read from a cache, or written to it, are told apart from the others read."""
        counts = self._counts
        cached = counts.get("cache_read_input_tokens", 0)
        read = counts.get("input_tokens", 0) + cached + counts.get("cache_creation_input_tokens", 0)
        return Usage(read, counts.get("output_tokens", 0), cached, is_told=bool(counts))

    def chunk(self, data: bytes) -> list[Piece]:
        """What the data of an event adds. Raises the error that it tells of, and ProviderFailedError for no JSON."""
        told = decoded(self._provider, data)
        if told.get("type") == "error" or told.get("error"):
            raise failures.of_event(self._provider, told.get("error"), self._key)
        index = told.get("index")
        number = index if isinstance(index, int) else None
        match told.get("type"):
            case "message_start":
                self._count(_object(told, "message").get("usage"))
            case "content_block_start":
                return self._block(_object(told, "content_block"), number, begins=True)
            case "content_block_delta":
                return self._delta(_object(told, "delta"), number)
            case "message_delta":
                self._count(told.get("usage"))
                self._finish(_object(told, "delta"))
            case "message_stop":
                self.is_done = True
        return []

    def whole(self, body: bytes) -> list[Piece]:
        """What an answer says that comes as a whole. Raises as `chunk` does."""
        told = decoded(self._provider, body)
        if told.get("type") == "error" or told.get("error"):
            raise failures.of_event(self._provider, told.get("error"), self._key)
        self._count(told.get("usage"))
        self._finish(told)
        content = told.get("content")
        pieces: list[Piece] = []
        for number, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                pieces += self._block(block, number, begins=False)
        self.is_done = True
        return pieces

    def close(self) -> list[Piece]:
        """What is still to be said once all was read. Raises ProviderFailedError where the end is missing."""
        text = self.texts[0]
        if not self.is_done and text.finish is None:
            raise broken(self._provider, "broke off before the end of its answer")
        if text.is_blank:
            raise broken(self._provider, "ended its answer without having said anything")
        return text.close()

    def _block(self, block: Json, number: int | None, *, begins: bool) -> list[Piece]:
        """A block; one that `begins` has its input in the deltas that follow."""
        text = self.texts[0]
        match block.get("type"):
            case "text":
                return text.say(_string(block, "text"))
            case "thinking":
                return text.say(thoughts=_string(block, "thinking"))
            case "tool_use":
                given = block.get("input")
                arguments = encode(given).decode() if given or not begins else ""
                return text.call(number, _string(block, "id"), _string(block, "name"), arguments)
        return []

    def _delta(self, delta: Json, number: int | None) -> list[Piece]:
        text = self.texts[0]
        match delta.get("type"):
            case "text_delta":
                return text.say(_string(delta, "text"))
            case "thinking_delta":
                return text.say(thoughts=_string(delta, "thinking"))
            case "input_json_delta" if _string(delta, "partial_json"):
                return text.call(number, "", "", _string(delta, "partial_json"))
        return []

    def _count(self, told: Any) -> None:
        """Tokens so far: later figures win, those that are not told stay."""
        for name, value in told.items() if isinstance(told, dict) else ():
            if counted := growing.believed(value):
                self._counts[name] = counted

    def _finish(self, told: Json) -> None:
        reason = told.get("stop_reason")
        if isinstance(reason, str):
            self.texts[0].finish = FINISHES.get(reason, "stop")
            self.texts[0].stopped_by = _string(told, "stop_sequence") or None


def _object(told: Json, name: str) -> Json:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _string(told: Json, name: str) -> str:
    found = told.get(name)
    return found if isinstance(found, str) else ""
