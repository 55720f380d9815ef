"""How is a job left from a terminal, and its answer fetched later? `golek submit`, `golek result`, `golek cancel`."""

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL
from golek_wire.errors import DeadlineExceededError, JobCancelledError
from golek_wire.replies import InferenceReply, Receipt, Reply
from golek_wire.subjects import ANONYMOUS, Kind

if TYPE_CHECKING:
    from golek_client.submitting import SubmitOptions

Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait, with --wait.")]


JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="What `golek submit` printed.")]
Principal = Annotated[
    str | None, typer.Option(metavar="WHO", help="Who submitted it, where the fleet asks for identities.")
]
CANCEL_S = 2.0
"""A worker answers a cancelled job this soon."""


def submit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `golek models` lists them.")],
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The prompt; else standard input.")] = None,
    *,
    server: Server = DEFAULT_URL,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer and print it.")] = False,
    key: Annotated[
        str | None, typer.Option(metavar="K", help="Idempotency key: a repeat with it is the same job for a day.")
    ] = None,
    reply_to: Annotated[str | None, typer.Option(metavar="SUBJECT", help="Publish the answer there as well.")] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="inference (a text) or embedding (a vector).")
    ] = "inference",
    max_tokens: Annotated[int | None, typer.Option(metavar="N", help="Most tokens to write.")] = None,
    param: terminal.Param = None,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="When the answer is of no more use.")] = "1h",
    timeout: Timeout = "1h",
) -> None:
    """Leave a job; its answer is kept for a day.

    Prints the job's id, for `golek result`; its place in the queue goes to standard error.

    \b
      golek submit golek-tiny "Tell a long story"
      golek submit golek-tiny "Tell a long story" --wait
      golek submit golek-tiny "A name for a boat" --wait --param n=3
      golek submit golek-tiny --key letter-17 --reply-to my.answers < letter.txt
    """
    from golek_client import terminal_wait
    from golek_client.client import Golek

    job_s, wait_s = terminal.seconds(deadline, "--deadline"), terminal.seconds(timeout, "--timeout")
    asked: Kind = _kind(kind)
    wishes = cast("SubmitOptions", terminal.params(param or []))
    if max_tokens is not None:
        wishes["max_tokens"] = max_tokens
    if asked == "embedding" and wishes:
        hint = "--param" if param else "--max-tokens"
        raise typer.BadParameter("a vector has no tokens; it goes with --kind inference", param_hint=hint)
    wishes["reply_to"] = reply_to
    prompt = terminal.piped_text() if text is None and not sys.stdin.isatty() else text
    if not prompt:
        terminal.fail("nothing to ask: give a TEXT, or text on standard input")

    async def leave() -> None:
        async with Golek(server) as golek:
            receipt = await golek.submit(model, prompt, kind=asked, deadline=job_s, idempotency_key=key, **wishes)
            _tell(receipt, waits=wait)
            if wait:
                async with terminal_wait.notice(golek, model):
                    reply = await golek.wait(receipt, wait_s)
                _show(reply)

    terminal.run(leave(), "--timeout" if wait else None)


def result(
    job_id: JobId,
    server: Server = DEFAULT_URL,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the answer is there.")] = False,
    principal: Principal = None,
    timeout: Timeout = "1h",
) -> None:
    """Print the answer of a job that was left. Exit status 1 when there is none (yet), or the job ended in an error."""
    from golek_client import terminal_wait
    from golek_client.client import Golek

    who = principal or ANONYMOUS
    wait_s = terminal.seconds(timeout, "--timeout")

    async def read() -> Reply | None:
        async with Golek(server) as golek:
            if wait:
                async with terminal_wait.notice_of_answer(job_id, who):
                    return await golek.wait(job_id, wait_s, principal=principal)
            return await golek.result(job_id, principal=principal)

    reply = terminal.run(read(), "--timeout" if wait else None)
    if reply is None:
        terminal.fail(
            f"no result of job {job_id} of {who}: it is on its way (--wait waits for it), was kept long enough, or the "
            "job is of another (--principal says whose)"
        )
    _show(reply)


def cancel(job_id: JobId, server: Server = DEFAULT_URL, principal: Principal = None) -> None:
    """Stop a job that was left.

    Exit status 1 when it was answered before, and when nobody says within two seconds that it ended: then the id is
    unknown, or its worker is away and hears nothing.
    """
    from golek_client.client import Golek

    async def end() -> None:
        async with Golek(server) as golek:
            try:
                if await golek.result(job_id, principal=principal) is not None:
                    terminal.fail(f"job {job_id} was answered already; `golek result {job_id}` prints it")
                await golek.cancel(job_id)
                await golek.wait(job_id, CANCEL_S, principal=principal)
            except JobCancelledError:
                print(f"job {job_id} is cancelled")
                return
            except DeadlineExceededError:
                terminal.fail(
                    f"nobody said within {CANCEL_S:g} s that job {job_id} ended: there is no such job, "
                    "or the worker that has it is away"
                )
            terminal.fail(f"job {job_id} was answered first; `golek result {job_id}` prints it")

    terminal.run(end())


def _kind(text: str) -> Kind:
    if text == "inference":
        return "inference"
    if text == "embedding":
        return "embedding"
    raise typer.BadParameter(f"{text!r} is not one of inference, embedding", param_hint="--kind")


def _tell(receipt: Receipt, *, waits: bool) -> None:
    """The id on standard output, unless the answer comes there; the rest for people."""
    who = "" if receipt.principal == "anonymous" else f" --principal {receipt.principal}"
    place = f"place {receipt.position} in the queue" if receipt.position else "answered already"
    print(f"job {receipt.job_id}: {place}; golek result {receipt.job_id}{who}", file=sys.stderr, flush=True)
    if not waits:
        print(receipt.job_id, flush=True)


def _show(reply: Reply) -> None:
    from golek_client.results import shown

    if not isinstance(reply, InferenceReply) or reply.choices is None or len(reply.choices) == 1:
        print(shown(reply))
    else:
        for choice in reply.choices:
            print(f"[{choice.index}] {choice.text}")
