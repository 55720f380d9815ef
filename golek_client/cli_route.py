"""How does a person see what routers do? `golek route explain`, `golek route list`, `golek route status`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from golek_wire.routing import Decision, RouteTable

route = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who answers for which name, and why.")

AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@route.command("explain")
def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="auto, an alias, a model, or <provider>:<model>.")],
    *,
    server: Server = DEFAULT_URL,
    text: Annotated[str | None, typer.Option("--input", metavar="TEXT", help="The prompt; its length counts.")] = None,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A whole request as JSON, as it is sent to the model; - is standard input."),
    ] = None,
    kind: Annotated[str, typer.Option(metavar="KIND", help="inference, embedding or rerank.")] = "inference",
    task_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="What kind of work it is, such as code.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="POLICY", help="local_only, never_cloud, local_first or cloud_first.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(metavar="STRATEGY", help="least_busy, cheapest, …")] = None,
    draw: Annotated[
        float | None, typer.Option(metavar="X", help="Where targets with weights fall, from 0 to 1; else at random.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Who would answer a request, in which order, and why; nobody is asked for an answer.

    \b
      golek route explain auto --task-type code --input "Sort a list in Rust"
      golek route explain smart --policy never_cloud
      golek route explain auto --request request.json --json

    Exit status 1 where nobody can be asked.
    """
    import msgspec

    from golek_client.client import Golek

    said = _request(request, text, kind)
    if task_type is not None:
        said["task_type"] = task_type
    wish = {name: value for name, value in (("policy", policy), ("strategy", strategy)) if value is not None}
    if wish:
        said["route"] = {**said.get("route", {}), **wish}

    async def ask() -> "Decision":
        from golek_wire import codec
        from golek_wire.routing import RouteQuestion

        asked = {"model": model, "kind": kind, "request": said} | ({} if draw is None else {"draw": draw})
        question = codec.decode_body(codec.encode(asked), RouteQuestion)
        async with Golek(server) as golek:
            return await golek.explained(question)

    found = terminal.run(ask())
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _show(found)
    if not found.candidates:
        raise typer.Exit(1)


@route.command("list")
def names(server: Server = DEFAULT_URL, as_json: AsJson = False) -> None:
    """The names that routers serve beside the fleet's own models."""
    found = _table(server)
    if as_json:
        _print([_plain(offer) for offer in found.offers])
        return
    rows = [
        [
            offer.name,
            offer.owned_by,
            ",".join(offer.kinds),
            str(offer.context_size or ""),
            ",".join(offer.roles),
            offer.mode or "",
            " ".join(offer.targets if offer.targets != [offer.name] else []),
        ]
        for offer in found.offers
    ]
    terminal.table(["name", "of", "kinds", "context", "roles", "mode", "targets"], rows)


@route.command("status")
def status(server: Server = DEFAULT_URL, as_json: AsJson = False) -> None:
    """What of it is in trouble: targets that are not asked for a while, and what of the files cannot be used."""
    found = _table(server)
    if as_json:
        _print({
            "router": found.router, "breakers": found.breakers, "problems": found.problems,
            "not_set_up": found.not_set_up,
        })  # fmt: skip
        return
    print(f"router {found.router}: {len(found.offers)} names beside the fleet's own models")
    if found.breakers:
        terminal.table(["target", "breaker"], [[target, said] for target, said in sorted(found.breakers.items())])
    else:
        print("all targets are asked")
    for problem in found.problems:
        print(f"problem: {problem}")
    if found.not_set_up:
        print(f"not set up: {', '.join(f'{name} ({key})' for name, key in found.not_set_up.items())}")


def _table(server: str) -> "RouteTable":
    from golek_client.client import Golek

    async def ask() -> "RouteTable":
        async with Golek(server) as golek:
            return await golek.routes()

    return terminal.run(ask())


def _request(file: Path | None, text: str | None, kind: str) -> dict[str, Any]:
    """The request that is asked about."""
    import msgspec

    if file is None:
        if text is None or kind == "inference":
            return {} if text is None else {"input": text}
        return {"input": text} if kind == "embedding" else {"query": text, "documents": [text]}
    if text is not None:
        raise typer.BadParameter("the request of --request has its own input", param_hint="--input")
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        read = msgspec.json.decode(content, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint="--request") from None
    return read


def _show(found: "Decision") -> None:
    about = f"{found.model}: {found.policy}, {found.strategy}"
    print(f"{about}, {found.task_type} is for {found.role}" if found.task_type and found.role else about)
    rows = [
        [str(number), one.target, one.lane, _dollars(one.cost_usd), one.reason.removeprefix(f"{one.target}: ")]
        for number, one in enumerate(found.candidates, 1)
    ]
    if rows:
        terminal.table(["", "target", "replica", "at most", "why"], rows)
    for one in found.rejected:
        print(f"not {one.target}: {one.reason.removeprefix(f'{one.target}: ')}")
    if found.error is not None:
        print(f"error {found.error['code']}: {found.error['message']}")


def _dollars(cost: float | None) -> str:
    if cost is None:
        return "unknown"
    return f"${cost:.6f}" if cost else "-"


def _plain(value: object) -> object:
    import msgspec

    return msgspec.to_builtins(value)


def _print(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
