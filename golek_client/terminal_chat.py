"""How do `golek chat` and `nats-chat` hold a conversation?

At a terminal with a prompt; in a pipe a line is a turn, and answers are all that is written to standard output. What a
model thinks is shown dimmed to a person, on standard error; the calls of tools that it asks for are a line each there.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from golek_client.client import Golek
from golek_client.options import Options
from golek_client.seeing import Source, image
from golek_client.stream import Stream
from golek_client.terminal_steps import DIM, PLAIN, Steps, figures, partial_line, written
from golek_client.terminal_wait import Notice, notice
from golek_wire import codec, images
from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    InferenceServiceError,
    ModelNotFoundError,
    NoWorkersError,
)
from golek_wire.keys import dollars, micros
from golek_wire.orchestration import StepEvent
from golek_wire.replies import InferenceReply, SessionUse
from golek_wire.requests import Message

PROMPT = "> "
BYE = "/bye"


class Conversation:
    """A model, how to ask it, and what was said so far."""

    def __init__(
        self,
        server: str | None,
        model: str,
        options: Options,
        deadline: float,
        *,
        system: str | None = None,
        subject: str | None = None,
        stats: bool = False,
        streaming: bool = True,
        steps: bool = False,
        whole: bool = False,
        shown: Sequence[Source] = (),
    ) -> None:
        """With `steps` those of several models are shown; `whole` writes the reply as JSON instead of its text. `shown`
        are images of the first turn.
        """
        self._server = server
        self._model = model
        self._options = options
        self._deadline = deadline
        self._subject = subject
        self._stats = stats
        self._streaming = streaming
        self._steps = steps
        self._whole = whole
        self._said = [Message("system", system)] if system else []
        self._shown = list(shown)
        self._kept_by_fleet = options.get("session_id") is not None

    def say(self, text: str) -> None:
        """One turn: send `text`, write the answer to standard output, remember both, unless the fleet does.

        Raises what the fleet answers; then the turn is not remembered.
        """
        turn = [*self._said, self._turn(text)]
        answer = asyncio.run(self._answer(turn))
        if not self._kept_by_fleet:
            self._said = [*turn, Message("assistant", answer)]

    def _turn(self, text: str) -> Message:
        """What is said, below the images that nobody has been shown yet. Raises as `seeing.image`."""
        shown, self._shown = self._shown, []
        if not shown:
            return Message("user", text)
        words = [images.text(text)] if text.strip() else []
        return Message("user", text, parts=[*(image(one) for one in shown), *words])

    def converse(self) -> bool:
        """Turns from standard input until its end, or at a terminal an empty line or `/bye`. True when all went well.

        An error ends a turn and not the conversation, and so does Ctrl-C at a terminal; at the prompt and in a pipe it
        ends the conversation. Raises before the first turn when there is no connection, and ModelNotFoundError for a
        model that nobody knows.

        Each turn connects anew: while a person types nothing answers the server's pings.
        """
        asyncio.run(self._look_up())
        well = True
        for text in _turns(self._model):
            try:
                self.say(text)
            except InferenceServiceError as error:
                print(f"error {error.code}: {error.message}", file=sys.stderr)
                well = False
            except KeyboardInterrupt:
                if not sys.stdin.isatty():
                    raise
                print()
        return well

    async def _look_up(self) -> None:
        """Raises what no waiting mends; a model that is busy, loads or comes back later may be talked to."""
        async with Golek(self._server) as golek:
            if self._subject is not None:  # who listens there is not known by the model's name
                return
            try:
                await golek.health(self._model)
            except (BadRequestError, ModelNotFoundError):
                raise
            except InferenceServiceError:
                return

    async def _answer(self, turn: list[Message]) -> str:
        began = time.monotonic()
        steps = Steps()

        def step(told: StepEvent) -> None:
            waiting.end()
            steps.told(told)

        async with (
            Golek(self._server) as golek,
            notice(golek, self._model) as waiting,
            golek.chat(
                self._model,
                turn,
                stream=True,
                deadline=self._deadline,
                subject=self._subject,
                on_queued=waiting.queued,
                on_step=step if self._steps else None,
                **self._options,
            ) as stream,
        ):
            waiting.stream = stream
            try:
                if self._whole:
                    first = await _show_reply(stream, waiting)
                else:
                    first = await (_show if self._streaming else _show_at_once)(stream, waiting, steps)
            except DeadlineExceededError as error:
                if waiting.deserted:
                    raise NoWorkersError(
                        f"{error.message}; no worker of {self._model} listens at the moment", model=self._model
                    ) from None
                raise
        print(flush=True)
        for call in stream.reply.tool_calls or ():
            print(f"[calls {call.function.name}({call.function.arguments})]", file=sys.stderr)
        if stream.reply.finish_reason == "length":
            print(f"[{cut(stream.reply)}]", file=sys.stderr)
        if stream.reply.finish_reason == "partial" and stream.reply.orchestration is not None:
            print(partial_line(stream.reply.orchestration), file=sys.stderr)
        _tell_session(stream.reply.session)
        if self._stats:
            _print_stats(stream.reply, began, first)
        return stream.reply.text


def _turns(model: str) -> Iterator[str]:
    """What a person types at the prompt, or the lines of a pipe that hold anything."""
    if not sys.stdin.isatty():
        try:
            yield from (line.strip() for line in sys.stdin if line.strip())
        except UnicodeDecodeError as error:
            raise BadRequestError(f"standard input is no UTF-8 text: {error}") from None
        return
    with contextlib.suppress(ImportError):  # not on Windows
        import readline  # noqa: F401 - gives `input` line editing and history
    print(f"{model}: empty line or Ctrl-D leaves, Ctrl-C stops an answer", file=sys.stderr, flush=True)
    while True:
        try:
            text = input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if text.strip() in ("", BYE):
            return
        yield text


async def _show(stream: Stream, waiting: Notice, steps: Steps) -> float:
    """Write the text as it comes; when the first of it came. An error that ends it begins on a line of its own."""
    first = None
    thoughts = _Thoughts()
    try:
        async for piece in stream.pieces():
            waiting.heard()
            steps.end()
            first = first or time.monotonic()
            thoughts.write(piece.reasoning_content)
            if piece.text and not piece.index:
                thoughts.end()
                print(piece.text, end="", flush=True)
    except InferenceServiceError:
        thoughts.end()
        if first is not None:
            print(flush=True)
        raise
    thoughts.end()
    return first or time.monotonic()


class _Thoughts:
    """What a model thinks, for a person at a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._open = False

    def write(self, text: str) -> None:
        if text and self._shown:
            print(text if self._open else DIM + text, end="", file=sys.stderr, flush=True)
            self._open = True

    def end(self) -> None:
        """Back to how text looks, on a line of its own."""
        if self._open:
            print(PLAIN, file=sys.stderr, flush=True)
            self._open = False


async def _show_reply(stream: Stream, waiting: Notice) -> float:
    """Write the whole reply as a line of JSON when it has ended; when the first of its text came."""
    first = None
    async for _ in stream.pieces():
        waiting.heard()
        first = first or time.monotonic()
    print(codec.encode(stream.reply).decode(), end="", flush=True)
    return first or time.monotonic()


async def _show_at_once(stream: Stream, waiting: Notice, _steps: Steps) -> float:
    """Write the text when it has ended; when that was. It is streamed all the same, so that leaving cancels it."""
    pieces = []
    async for delta in stream:
        waiting.heard()
        pieces.append(delta)
    print("".join(pieces), end="", flush=True)
    return time.monotonic()


def cut(reply: InferenceReply) -> str:
    """That an answer was cut, and where. Of several models' answer the count of all steps says nothing."""
    tokens = reply.tokens_out if reply.orchestration is None else written(reply.orchestration)
    return f"cut at {tokens} tokens" if tokens else "cut at its limit of tokens"


def _tell_session(use: SessionUse | None) -> None:
    """On standard error what a person would not expect of a conversation that the fleet keeps."""
    if use is not None and use.left_out:
        print(
            f"[the model did not read the oldest {use.left_out} of {use.left_out + use.turns} turns]", file=sys.stderr
        )
    if use is not None and not use.stored:
        print("[this turn could not be kept]", file=sys.stderr)


def _print_stats(reply: InferenceReply, began: float, first: float) -> None:
    """Figures on standard error. The rate is that of decoding, without the wait for the first token; several models
    have none, for the tokens are those of all steps.
    """
    now = time.monotonic()
    rate = (reply.tokens_out - 1) / (now - first) if reply.tokens_out > 1 and now > first else 0.0
    speed = "" if reply.orchestration is not None else f"{rate:.1f} tokens/s, "
    print(
        f"{reply.tokens_in} tokens in, {reply.tokens_out} out, {speed}first after {first - began:.2f} s, "
        f"all after {now - began:.2f} s, ended by {reply.finish_reason}, seed {reply.seed}{_routed(reply)}",
        file=sys.stderr,
    )
    for line in figures(reply.orchestration) if reply.orchestration is not None else ():
        print(line, file=sys.stderr)


def _routed(reply: InferenceReply) -> str:
    """Who answered, what it cost and what a cache did, where the reply says so."""
    said = [f"by {reply.route.target}" if reply.route else "", f"cache {reply.cache}" if reply.cache else ""]
    if reply.cost_usd is not None:
        said.insert(1, dollars(micros(reply.cost_usd)))
    return "".join(f", {one}" for one in said if one)
