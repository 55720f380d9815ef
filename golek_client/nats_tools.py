"""What do `nats-chat` and `nats-embed` do?

Two small programs that ask a subject, with single-dash options as Go programs have them; two dashes do as well. They
need nothing beyond the client. `golek chat` and `golek embed` do the same by the model's name, and more.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from golek_client import duration
from golek_wire.errors import InferenceServiceError

EMBED_SUBJECT = "embedding.request.nomic-embed-v1.5"
FAMILIES = ("inference.request.", "embedding.request.")
INTERRUPTED = 130

CHAT_EXAMPLES = """examples:
  nats-chat -subject inference.request.qwen3-4b -input "What is quantum computing?"
  nats-chat -subject inference.request.qwen3-4b -input "Name a river" -max-tokens 1000 -temperature 0.1
  nats-chat -subject inference.request.gemma3-270m -i

Without -input and -i the question is read from standard input. With -i an empty line or Ctrl-D leaves, and Ctrl-C
stops an answer; in a pipe each line is a turn. `golek models` lists the models."""

EMBED_EXAMPLES = """examples:
  nats-embed -input "search_query: machine learning"
  nats-embed -model nomic-embed-v2-moe -input "Bonjour le monde"
  nats-embed -subject embedding.request.nomic-embed-v2-moe -input "Bonjour le monde" -model nomic-embed-v2-moe

Prints one line of JSON as OpenAI's embeddings API has it. `golek embed` takes many texts at once."""


def nats_chat() -> None:
    """`nats-chat -subject S [-input TEXT | -i] [-max-tokens N] [-temperature T]`."""
    parser = _parser("nats-chat", "Ask a model on its subject and print its answer as it is written.", CHAT_EXAMPLES)
    _option(parser, "subject", required=True, metavar="S", help="where to ask, e.g. inference.request.qwen3-4b")
    _option(parser, "input", metavar="TEXT", help="what to say")
    parser.add_argument("-i", "-interactive", "--interactive", action="store_true", help="a conversation")
    _option(parser, "max-tokens", type=int, metavar="N", help="most tokens to write")
    _option(parser, "temperature", type=float, metavar="T", help="0 picks the likeliest token")
    given = parser.parse_args()
    with _errors("nats-chat"):
        from golek_client.options import Options
        from golek_client.terminal_chat import Conversation

        talk = Conversation(
            given.server,
            _model_of(given.subject),
            Options(max_tokens=given.max_tokens, temperature=given.temperature),
            given.timeout,
            subject=given.subject,
        )
        text = given.input if given.interactive or given.input is not None else _standard_input(parser)
        if text is not None:
            talk.say(text)
        if given.interactive and not talk.converse() and not sys.stdin.isatty():
            sys.exit(1)


def nats_embed() -> None:
    """`nats-embed [-subject S] -input TEXT [-model M]`."""
    parser = _parser("nats-embed", "Turn a text into a vector and print it as JSON.", EMBED_EXAMPLES)
    _option(parser, "subject", metavar="S", help=f"where to ask; that of -model, else {EMBED_SUBJECT}")
    _option(parser, "input", metavar="TEXT", help="the text; else standard input")
    _option(parser, "model", metavar="M", help="name of the model; the subject decides where both are given")
    given = parser.parse_args()
    subject = given.subject or (f"embedding.request.{given.model}" if given.model else EMBED_SUBJECT)
    text = given.input if given.input is not None else _standard_input(parser)
    with _errors("nats-embed"):
        import asyncio

        from golek_client import embedding, terminal_wait
        from golek_client.client import Golek
        from golek_wire.replies import EmbeddingReply

        async def embed() -> EmbeddingReply:
            model = given.model or _model_of(subject)
            async with Golek(given.server) as golek, terminal_wait.notice(golek, model):
                return await golek.embed(model, text, subject=subject, deadline=given.timeout)

        print(embedding.as_json(asyncio.run(embed())), flush=True)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; {self.prog} -h shows how", file=sys.stderr)
        sys.exit(1)


def _parser(program: str, purpose: str, examples: str) -> _Parser:
    """A parser with the options that both programs have."""
    parser = _Parser(
        prog=program,
        description=purpose,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-server", "--server", "-s", metavar="URL", help="the NATS server; else NATS_URL, else nats://127.0.0.1:4222"
    )
    _option(parser, "timeout", type=_seconds, default=120.0, metavar="D", help="how long to wait, e.g. 30s; default 2m")
    return parser


def _option(parser: _Parser, name: str, **about: object) -> None:
    """`-name` and `--name`."""
    parser.add_argument(f"-{name}", f"--{name}", **about)  # type: ignore[arg-type]


def _seconds(text: str) -> float:
    try:
        return duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _model_of(subject: str) -> str:
    """The model that a subject of ours names; for another one the subject itself, which errors then show."""
    for family in FAMILIES:
        if subject.startswith(family):
            return subject.removeprefix(family)
    return subject


def _standard_input(parser: _Parser) -> str:
    """The text in a pipe or file."""
    if sys.stdin.isatty():
        parser.error("-input is missing")
    try:
        text = sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        parser.error(f"standard input is no UTF-8 text: {error}")
    if not text:
        parser.error("-input is missing, and standard input is empty")
    return text


@contextlib.contextmanager
def _errors(program: str) -> Iterator[None]:
    """An error of the fleet is one line and exit status 1; Ctrl-C is 130, a reader that closed the pipe 1, silently."""
    try:
        yield
    except InferenceServiceError as error:
        print(f"{program}: error {error.code}: {' '.join(error.message.split())}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # Else the interpreter meets the closed pipe again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
