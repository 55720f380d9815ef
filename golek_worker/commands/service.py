"""What starts a whole fleet on one machine, and what serves it over HTTP?

`golek serve` and `golek gateway`. Each imports what it needs when it runs.
"""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client.cli import app
from golek_worker.plainly import said_plainly

if TYPE_CHECKING:
    from golek_program.settings.http import Gateway

gateway = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The fleet's HTTP gateway on this machine.")
app.add_typer(gateway, name="gateway")

Port = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="Instead of INFERENCE_PORT.", show_default=False)
]


@app.command("serve")
def serve(
    names: Annotated[list[str] | None, typer.Argument(help="Deployments or models.", show_default=False)] = None,
    http: Annotated[bool, typer.Option("--gateway/--no-gateway", help="Serve HTTP, too.")] = True,
    watch: Annotated[
        bool | None,
        typer.Option("--monitor/--no-monitor", help="Run the monitor, too; default where its port is free."),
    ] = None,
) -> None:
    """Broker, workers, gateway and monitor by one command; Ctrl-C ends all.

    Without names it serves what INFERENCE_PRELOAD_MODELS lists, else the models of the preset INFERENCE_CONFIG with a
    router, else the model that MODEL_NAME, MODEL_PATH or LLM_MODEL name, else golek-tiny. A preset may be named, too.
    `golek load NAME` has it start another one. What runs already is used, and left running.
    """
    from golek_program.settings import monitor as monitor_settings
    from golek_worker import settings
    from golek_worker.machine import monitor
    from golek_worker.machine.lifecycle import ENVS
    from golek_worker.supervisor.plan import PlanError, plan
    from golek_worker.supervisor.supervisor import Supervisor

    with said_plainly():
        service, watching = settings.load_service(), monitor_settings.load()
        try:
            planned = plan(names or (), service, ENVS)
        except PlanError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        _say(f"golek serve: {', '.join(planned.deployments)}, {planned.why}")
        shall = asyncio.run(monitor.shall_run(watching, wanted=watch, say=_say))
        supervisor = Supervisor(
            service, planned.deployments, with_gateway=http, monitor=watching if shall else None, say=_say
        )
        status = asyncio.run(supervisor.run())
    raise typer.Exit(status)


@gateway.command("start")
def gateway_start(port: Port = None) -> None:
    """Start the gateway and wait until it answers.

    The broker is started too, when nobody listens where NATS_URL says and that is this machine.
    """
    from golek_worker.machine import gateway as door
    from golek_worker.machine import lifecycle

    async def start() -> None:
        if door.running(chosen.data) is None:
            await lifecycle.ensure_broker(chosen.nats_url, chosen.data, typer.echo, chosen.login)
        await door.start(chosen, say=typer.echo)

    with said_plainly():
        chosen = _settings(port)
        asyncio.run(start())


@gateway.command("run")
def gateway_run(port: Port = None) -> None:
    """Serve in the foreground, with the log on the terminal; Ctrl-C ends it. The broker must be there."""
    from golek_worker.machine import gateway as door
    from golek_worker.machine import services

    with said_plainly():
        chosen = _settings(port)
        known = door.running(chosen.data)
        if known is not None:
            raise services.ServiceError(f"the gateway runs already at {known.url} (pid {known.pid})")
        if wrong := door.problems(chosen):
            raise services.ServiceError("\n".join(wrong))
        services.note(door.KIND, door.place(chosen), os.getpid(), log="")
        from golek_worker import front

        sys.argv = ["golek gateway run"]
        try:
            status = front.main()
        finally:
            services.forget(door.KIND, chosen.data)
    raise typer.Exit(status)


@gateway.command("stop")
def gateway_stop() -> None:
    """Stop the gateway; what runs through it ends first."""
    from golek_worker.machine import gateway as door
    from golek_worker.machine import services

    with said_plainly():
        if not services.stop(door.KIND, _settings(None).data, typer.echo):
            typer.echo("no gateway of ours runs")


@gateway.command("status")
def gateway_status() -> None:
    """Where it answers; exit status 1 when it does not."""
    from golek_program.web import ping
    from golek_worker.machine import gateway as door

    with said_plainly():
        known = door.running(_settings(None).data)
        if known is None:
            typer.echo("no gateway of ours runs; `golek gateway start` starts it")
            raise typer.Exit(1)
        answers = asyncio.run(ping.answers(known.url, door.KIND.ping))
        health = f", says that it lives at {known.health_url}" if known.health_url else ""
        said = "answers" if answers else "does not answer"
        typer.echo(f"gateway {said} at {known.url} (pid {known.pid}){health}; broker {known.nats_url}")
        if known.log:
            typer.echo(f"log: {known.log}")
    raise typer.Exit(0 if answers else 1)


def _settings(port: int | None) -> "Gateway":
    """The gateway's settings, with another port where one was typed. Raises SettingsError."""
    from golek_worker import settings

    if port is not None:
        os.environ["INFERENCE_PORT"] = str(port)  # as make does; the gateway's own process reads it from there
    return settings.load_gateway()


def _say(line: str) -> None:
    """A line at once; where nobody reads any more, nothing: the fleet goes on."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
