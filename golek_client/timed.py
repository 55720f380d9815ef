"""How long may a call take, and what is sent where it says nothing of that?"""

from golek_client.opening import check_seconds
from golek_client.options import Messages, Options, build


class Timed:
    """The part of a client that knows its deadlines; one of the fleet, or one without a bus."""

    deadline: float
    """Seconds that a call waits for its answer, where it does not say itself."""

    def _request(
        self,
        deadline: float | None,
        options: Options,
        *,
        prompt: str | None = None,
        messages: Messages | None = None,
        stream: bool = False,
    ) -> tuple[bytes, float]:
        """The request's bytes, checked, and its deadline in seconds."""
        seconds = self._seconds(deadline)
        return build(options, prompt=prompt, messages=messages, stream=stream, deadline=seconds), seconds

    def _seconds(self, deadline: float | None) -> float:
        """The deadline of a call. Raises BadRequestError for what is none."""
        seconds = self.deadline if deadline is None else deadline
        check_seconds("deadline", seconds)
        return seconds
