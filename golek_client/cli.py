"""What can a person do with a fleet from a terminal?

The commands of the client: `chat`, `embed`, `rerank`, `classify`, `submit`, `result`, `cancel`, `models`, `health`,
`load`, `unload`, `drain`, `dlq`, `grammar`, `route`, `session`, `adapter`, and `req` and `sub` as in the `nats` CLI.
`golek` mounts `app` beside the worker's own. Needs the extra `cli`; what a command needs beyond typer is imported when
it runs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from golek_client import cli_adapters, cli_cache, cli_operate, cli_results, cli_vision, terminal
from golek_client.cli_grammars import grammar
from golek_client.cli_letters import dlq
from golek_client.cli_route import route
from golek_client.cli_sessions import session
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

EXAMPLES = """Talk to a Golek inference fleet.

\b
  golek models                             what the fleet knows
  golek chat golek-tiny "Why is the sky blue?"
  golek chat golek-tiny -i                 a conversation
  git diff | golek chat golek-tiny --system "Write a commit message"
  golek embed nomic-embed-v1.5 "Hello world"
  golek submit golek-tiny "Tell a story"   leave it; then golek result, cancel
  golek health golek-tiny
  golek grammar list                       what answers can be made to follow
  golek route explain auto                 who would answer, and why
  golek unload golek-tiny                  free its memory; a request loads it
  golek req inference.request.golek-tiny '{"input": "hi"}' --timeout=30s
  golek sub 'monitoring.inference.*'       load reports as they come

NATS_URL names the server; --server does so for one command.
"""

app = typer.Typer(
    help=EXAMPLES, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.add_typer(dlq, name="dlq")
app.add_typer(cli_adapters.adapter, name="adapter")
app.add_typer(cli_cache.cache, name="cache")
app.add_typer(grammar, name="grammar")
app.add_typer(route, name="route")
app.add_typer(session, name="session")
models = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(models, name="models")
app.command()(cli_vision.classify)
app.command()(cli_results.submit)
app.command()(cli_results.result)
app.command()(cli_results.cancel)
app.command()(cli_operate.load)
app.command()(cli_operate.unload)
app.command()(cli_operate.drain)


def _version(wanted: bool) -> None:
    """Print which Golek this is, and end."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"golek {version('golek')}")
        raise typer.Exit


@app.callback()
def golek(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Which Golek this is.")
    ] = False,
) -> None:
    pass


Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `golek models` lists them.")]


@app.command()
def chat(
    model: Model,
    message: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE]", help="What to say; else standard input, or a conversation.")
    ] = None,
    *,
    server: Server = DEFAULT_URL,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="Instructions before the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", help="Most tokens to write.")] = None,
    temperature: Annotated[float | None, typer.Option(metavar="X", help="0 picks the likeliest token.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Same seed, same answer.")] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="LoRA adapter; `golek adapter list` shows them.")
    ] = None,
    param: terminal.Param = None,
    priority: Annotated[
        int | None,
        typer.Option(min=1, max=3, metavar="N", help="1 low, 2 normal, 3 high, in a fleet that queues by priority."),
    ] = None,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the answer.")] = "2m",
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="FILE", help="Show this image first; may be given again.")
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="A conversation: each line is a turn, after MESSAGE if given.")
    ] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
    reasoning: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="How long it may think: none, minimal, low, medium or high.")
    ] = None,
    tools: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tools it may call: a list in OpenAI's form, as JSON.")
    ] = None,
    session_id: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Go on with a conversation that the fleet keeps.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="Several models answer together: critique, debate, ensemble or pipeline."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Which models do; without it as preset and settings say.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Most rounds of a critique or a debate.")] = None,
    progress: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Show their steps on standard error: off, steps or texts."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole reply as JSON when it has ended.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print tokens and their rate to standard error.")] = False,
) -> None:
    """Ask a model and read the answer as it is written.

    \b
      golek chat golek-tiny "Name three rivers" --temperature 0
      golek chat golek-tiny "Name three rivers" --param top_p=0.5 --param repeat_penalty=1.1
      cat letter.txt | golek chat golek-tiny --system "Summarise in one sentence"
      golek chat smolvlm-500m "What is on the table?" --image photo.jpg
      golek chat golek-tiny                  a conversation
      golek chat golek-tiny -i < turns.txt   one that is written down: each line is a turn
      golek chat golek-tiny --session ann-1 "And now?"   one that the fleet keeps: it knows what was said
      golek chat D3 "Is 91 prime?" --stats   a preset: several models answer together
      golek chat phi-4 --mode debate --models phi-4,qwen2.5-7b "Is 91 prime?" --progress texts

    An empty line, /bye or Ctrl-D ends a conversation; Ctrl-C stops the answer that is being written. An answer that
    --max-tokens or the model's context ended is marked on standard error, and so is a partial one of several models;
    both leave exit status 0. Without -i a pipe or file is one message. A terminal shows the steps of several models
    that answer together.
    """
    from golek_client.options import Options
    from golek_client.terminal_chat import Conversation

    named = Options(
        max_tokens=max_tokens, temperature=temperature, seed=seed, priority=priority, reasoning_effort=reasoning,
        adapter=adapter, session_id=session_id, tools=None if tools is None else terminal.json_list(tools, "--tools"),
    )  # fmt: skip
    together = terminal.together(mode, models, rounds, progress)
    given = {k: v for k, v in {**named, **together}.items() if v is not None}
    options = cast("Options", terminal.params(param or []) | given)
    if options.get("n", 1) != 1:
        raise typer.BadParameter(
            "a conversation goes on from one text; `golek submit --wait` takes n", param_hint="--param"
        )
    talk = Conversation(
        server,
        model,
        options,
        terminal.seconds(deadline, "--deadline"),
        system=system,
        stats=stats,
        streaming=not no_stream,
        steps=together.get("orchestration", {}).get("progress", "off") != "off",
        whole=json,
        shown=[cli_vision.source(one) for one in image or ()],
    )
    if message is None and not interactive and not sys.stdin.isatty():
        message = terminal.piped_text()
    if message is not None and not message.strip() and not image:
        terminal.fail("nothing to say: give a MESSAGE, or text on standard input")
    with terminal.errors("--deadline", model):
        if message is not None:
            talk.say(message)
        if (message is None or interactive) and not talk.converse() and not sys.stdin.isatty():
            raise typer.Exit(1)  # the turns of a script: it learns that not all were answered


@app.command()
def embed(
    model: Model,
    text: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; else lines of a pipe.")] = None,
    server: Server = DEFAULT_URL,
    dimensions: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the first N numbers of each vector.")
    ] = None,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the vectors.")] = "2m",
) -> None:
    """Turn texts into vectors.

    Prints one line of JSON, as OpenAI's embeddings API has it.

    \b
      golek embed nomic-embed-v1.5 "search_query: rivers of Africa"
      golek embed nomic-embed-v1.5 "one text" "another" | jq '.data[1].embedding'
      golek embed nomic-embed-v1.5 < lines.txt | jq .usage

    Vectors are unit vectors: their dot product is the cosine of their angle. Some models want a prefix that says what a
    text is for, as above. --dimensions suits models that were trained for it (Matryoshka), such as nomic-embed-v1.5.
    Without a TEXT each line of standard input is one; empty lines are left out.
    """
    from golek_client import embedding, terminal_wait
    from golek_client.client import Golek
    from golek_wire.replies import EmbeddingReply

    seconds = terminal.seconds(deadline, "--deadline")
    texts = text or ([] if sys.stdin.isatty() else terminal.piped_lines())
    if not texts:
        terminal.fail("nothing to embed: give a TEXT, or lines on standard input")

    async def read() -> EmbeddingReply:
        async with Golek(server) as golek, terminal_wait.notice(golek, model):
            return await golek.embed(model, texts, deadline=seconds, dimensions=dimensions)

    print(embedding.as_json(terminal.run(read(), "--deadline")))


@app.command()
def rerank(
    model: Model,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the documents are ranked by.")],
    documents: Annotated[
        list[str] | None, typer.Argument(metavar="[DOCUMENT]...", help="Documents; else lines of a pipe.")
    ] = None,
    server: Server = DEFAULT_URL,
    top_n: Annotated[int | None, typer.Option("--top-n", metavar="N", help="Only the N best.")] = None,
    texts: Annotated[bool, typer.Option("--documents", help="Show each result's document as well.")] = False,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the scores.")] = "2m",
) -> None:
    """Rank documents by a query, the best one first.

    Prints one line of JSON: `index` counts the documents from 0, a higher `relevance_score` is better.

    \b
      golek rerank bge-reranker-v2-m3 "rivers of Africa" "The Nile is long" "Snow is white"
      golek rerank bge-reranker-v2-m3 "rivers of Africa" --top-n 3 < lines.txt | jq '.results[].index'

    Without a DOCUMENT each line of standard input is one; empty lines are left out.
    """
    from golek_client import ranking, terminal_wait
    from golek_client.client import Golek
    from golek_wire.replies import RerankReply

    seconds = terminal.seconds(deadline, "--deadline")
    given = documents or ([] if sys.stdin.isatty() else terminal.piped_lines())
    if not given:
        terminal.fail("nothing to rank: give a DOCUMENT, or lines on standard input")

    async def read() -> RerankReply:
        async with Golek(server) as golek, terminal_wait.notice(golek, model):
            return await golek.rerank(model, query, given, deadline=seconds, top_n=top_n, return_documents=texts)

    print(ranking.as_json(terminal.run(read(), "--deadline")))


@models.callback()
def of_the_fleet(context: typer.Context, server: Server = DEFAULT_URL) -> None:
    """List the models that the fleet knows.

    A model that serves says so every 30 s. SEEN is `no sign for 45 s` once it has missed that, as when its worker was
    killed; after 90 s (15 min while it loads) its STATE is `gone`: requests no longer wait for it.
    """
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime

    from golek_client import discovery
    from golek_client.client import Golek

    async def read() -> list[list[str]]:
        async with Golek(server) as golek:
            known, now = await golek.models(), datetime.now(UTC)
        return [
            [
                m.name,
                discovery.state(m, now),
                ",".join(m.kinds),
                str(m.context_size or ""),
                discovery.sign(m, now),
                m.deployment,
            ]
            for m in known
        ] + [
            [one.name, "offered", ",".join(one.kinds), str(one.context_size or ""), "", one.owned_by]
            for one in discovery.offers(known, now)
        ]

    rows = terminal.run(read())
    if not rows:
        print("no models are known; `make start WORKER=<name>` starts a worker")
        return
    terminal.table(["model", "state", "kinds", "context", "seen", "deployment"], rows)


@app.command()
def health(
    model: Model,
    server: Server = DEFAULT_URL,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for an answer.")] = "2s",
) -> None:
    """Show how one replica of a model is.

    JSON on standard output; on standard error a line of how fast its engine is. Exit status 0 when it is online, or
    unloaded and would load for a request; 1 when it is not.
    """
    import msgspec

    from golek_client import pace
    from golek_client.client import Golek
    from golek_wire.signals import TAKES_REQUESTS, Health

    wait = terminal.seconds(timeout, "--timeout")

    async def read() -> Health:
        async with Golek(server) as golek:
            return await golek.health(model, wait)

    found = terminal.run(read(), "--timeout")
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    if told := pace.line(found.engine_stats):
        print(told, file=sys.stderr)
    if found.status not in TAKES_REQUESTS:
        raise typer.Exit(1)


@app.command()
def req(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Where to ask.")],
    body: Annotated[str | None, typer.Argument(metavar="[BODY]", help="The message; else standard input.")] = None,
    server: Server = DEFAULT_URL,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the first reply.")] = "5s",
    replies: Annotated[int, typer.Option(metavar="N", help="Replies to wait for; 0 waits until the timeout.")] = 1,
    wait_for_empty: Annotated[
        bool, typer.Option("--wait-for-empty", help="Take replies until an empty one, which ends a stream.")
    ] = False,
    reply_timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="Longest pause between replies, where more than one is awaited.")
    ] = "300ms",
    raw: Annotated[bool, typer.Option("--raw", "-r", help="Print nothing but the replies' bodies.")] = False,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", metavar="K:V", help="Add a header.")] = None,
    count: Annotated[int, typer.Option(metavar="N", help="Send the request so many times, one after the other.")] = 1,
) -> None:
    """Send a request and print the replies, like `nats req`.

    \b
      golek req inference.request.golek-tiny '{"input": "hi"}' --timeout=30s
      golek req inference.request.golek-tiny '{"input": "hi", "stream": true}' \\
          --wait-for-empty --reply-timeout=30s
      golek req models.golek-tiny.health --raw | jq .status

    A model takes its request as JSON. With `"stream": true` the answer is many messages and an empty one: that needs
    --wait-for-empty --reply-timeout=30s.

    Of the options of `nats req` it takes these: --server, --timeout, --replies, --reply-timeout, --wait-for-empty,
    --raw, --header, --count. The body is sent as it is: there are no templates in it.

    Exit status 1 when nobody listens, when the replies do not come in time, and when one of them is an error: it has
    the header Nats-Service-Error-Code.
    """
    from golek_client import terminal_bus

    question = terminal_bus.Question(
        subject=subject,
        body=terminal_bus.standard_input(raw) if body is None else os.fsencode(body),
        headers=terminal_bus.parse_headers(header or []),
        timeout=terminal.seconds(timeout, "--timeout"),
        reply_timeout=terminal.seconds(reply_timeout, "--reply-timeout"),
        replies=replies,
        wait_for_empty=wait_for_empty,
    )
    terminal.run(terminal_bus.ask(server, question, count, raw))


@app.command()
def sub(
    subject: Annotated[list[str], typer.Argument(metavar="SUBJECT...", help="What to listen to; * and > match.")],
    server: Server = DEFAULT_URL,
    count: Annotated[int, typer.Option(metavar="N", help="End after so many messages; 0 goes on.")] = 0,
    raw: Annotated[bool, typer.Option("--raw", "-r", help="Print nothing but the bodies.")] = False,
    headers_only: Annotated[bool, typer.Option("--headers-only", help="Leave the bodies out.")] = False,
) -> None:
    """Print the messages on one or more subjects, like `nats sub`.

    \b
      golek sub 'models.*.heartbeat'
      golek sub monitoring.inference.golek-tiny --count 1 | jq .status

    Into a pipe or a file it writes the bodies alone; `nats sub` does so with --raw.

    Reports of a model with a dot in its name go to its token: qwen2.5 is monitoring.inference.qwen2_5.
    """
    from golek_client import terminal_bus

    terminal.run(terminal_bus.listen(server, subject, count, raw, headers_only))


if __name__ == "__main__":
    app()
