"""Which commands does `golek` have?

Those of the client, and beside them: worker, broker, config, pull, demo, and those of the modules beside this one whose
names end in `_commands`. Each imports what it needs when it runs, so that `golek --help` is quick.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from golek_client.cli import app
from golek_client.transport import DEFAULT_URL
from golek_worker.commands import doctor as doctor_commands
from golek_worker.commands import evaluation as eval_commands
from golek_worker.commands import keys as key_commands
from golek_worker.commands import models as model_commands
from golek_worker.commands import monitor as monitor_commands
from golek_worker.commands import presets as preset_commands
from golek_worker.commands import service as service_commands
from golek_worker.plainly import said_plainly as _said_plainly

__all__ = [
    "app",
    "doctor_commands",
    "eval_commands",
    "key_commands",
    "model_commands",
    "monitor_commands",
    "preset_commands",
    "service_commands",
]

worker = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Start, stop and look at the workers of this machine."
)
broker = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The NATS server of this machine.")
app.add_typer(worker, name="worker")
app.add_typer(broker, name="broker")
app.add_typer(key_commands.keys, name="keys")
app.add_typer(eval_commands.evaluation, name="eval")
app.add_typer(preset_commands.presets, name="presets")

Name = Annotated[str, typer.Argument(help="A deployment: envs/worker.<NAME>.env", show_default=False)]
Url = Annotated[str, typer.Option(envvar="NATS_URL", help="Where the broker listens.")]
Data = Annotated[Path, typer.Option(envvar="GOLEK_DATA", help="Where its store, log and pid file lie.")]
DEFAULT_DATA = Path("data")


@worker.command("start")
def worker_start(name: Name, replicas: Annotated[int, typer.Option(min=1, help="How many processes.")] = 1) -> None:
    """Start a deployment and wait until it is online.

    The broker is started too, when nobody listens where NATS_URL says and that is this machine.
    """
    from golek_worker.machine import lifecycle

    with _said_plainly():
        asyncio.run(lifecycle.start(name, replicas, say=typer.echo))


@worker.command("stop")
def worker_stop(
    name: Annotated[str | None, typer.Argument(help="Without it: everything, the broker last.")] = None,
) -> None:
    """Stop a deployment, or everything: `golek serve`, gateway, monitor, all workers, and the broker.

    Its jobs are finished first, for at most DRAIN_S seconds; the rest goes back to the queue.
    """
    from golek_worker.machine import lifecycle

    with _said_plainly():
        lifecycle.stop(name, say=typer.echo)


@worker.command("list")
def worker_list() -> None:
    """All deployments and what runs of each."""
    from golek_worker.machine import listing

    typer.echo("\n".join([listing.table(listing.deployments()), *listing.beside_workers()]))


@worker.command("check")
def worker_check(name: Name) -> None:
    """All that keeps a deployment from running.

    Everything at once, as far as this machine can tell: whether the fleet's queue has other values than this
    deployment, a start finds out. Exit code 1 when there is anything. Settings without effect are only noted.
    """
    from golek_worker import settings
    from golek_worker.machine import check

    file = settings.env_file(name)
    wrong = asyncio.run(check.problems(file))
    if file.is_file():
        notes = [*settings.remarks(file), *check.shared_subjects(file)]
        if not wrong:
            loaded = settings.load(file)
            notes += [*check.device_note(loaded), *check.key_remarks(loaded), *check.route_remarks(loaded)]
        typer.echo("".join(f"note: {note}\n" for note in notes), nl=False, err=True)
    if not wrong:
        loaded = settings.load(file)
        lines = [*check.about_model(loaded), *check.memory_note(loaded)]
        typer.echo("".join(f"{line}\n" for line in lines), nl=False)
    typer.echo("\n".join(wrong) or "ok", err=bool(wrong))
    raise typer.Exit(1 if wrong else 0)


@worker.command("test")
def worker_test(name: Name) -> None:
    """Ask each endpoint of a worker once.

    Health, request, raw, stream, grammar, embedding: a table of what came back and how fast; exit code 1 when a check
    fails. What the model cannot do is not asked, and a worker that still loads is waited for.
    """
    from golek_client import terminal
    from golek_worker.machine import endpoint_checks

    with _said_plainly():
        checks = asyncio.run(endpoint_checks.run(name, say=typer.echo))
    terminal.table(endpoint_checks.COLUMNS, [check.row for check in checks])
    failed = sum(not check.passed for check in checks)
    typer.echo(f"{name}: {len(checks) - failed} of {len(checks)} checks passed")
    raise typer.Exit(1 if failed else 0)


@worker.command("logs")
def worker_logs(
    name: Name,
    limit: Annotated[int, typer.Option("-n", min=1, help="How many rows.")] = 20,
    worker_id: Annotated[str | None, typer.Option("--worker-id", help="Only this replica's.")] = None,
    events: Annotated[bool, typer.Option("--events", help="Events instead of requests.")] = False,
    boot: Annotated[bool, typer.Option("--boot", help="The worker's own log instead.")] = False,
    engine: Annotated[bool, typer.Option("--engine", help="What its engine says instead.")] = False,
) -> None:
    """The newest rows of the request log, oldest first."""
    from golek_worker import settings
    from golek_worker.store import reading

    with _said_plainly():
        loaded = settings.load(settings.env_file(name))
        if boot or engine:
            from golek_worker.machine import listing

            wanted = [of_engine for of_engine, asked in ((False, boot), (True, engine)) if asked]
            texts = [listing.log_lines(name, loaded, worker_id, limit, engine=of_engine) for of_engine in wanted]
            typer.echo("\n\n".join(texts))
            return
        log = loaded.log_file
        read = reading.event_lines if events else reading.request_lines
        typer.echo("\n".join(read(log, limit, worker_id)) or f"{log}: no rows yet")


@broker.command("start")
def broker_start(url: Url = DEFAULT_URL, data: Data = DEFAULT_DATA) -> None:
    """Start the broker, unless one answers."""
    from golek_worker.bus import embedded
    from golek_worker.machine import lifecycle

    with _said_plainly():
        asyncio.run(lifecycle.ensure_broker(url, data, typer.echo))
    if embedded.running(data):
        typer.echo(f"log: {embedded.log_file(data)}; configuration: {embedded.conf_file(data)}")


@broker.command("cluster")
def broker_cluster(url: Url = DEFAULT_URL, data: Data = DEFAULT_DATA) -> None:
    """Start three brokers that are one, or those of them that do not run.

    The first listens where NATS_URL says, the others on the next free ports; with three URLs each has its own. What is
    stored lies on all three: one may die at any time.
    """
    from golek_worker.bus import cluster
    from golek_worker.machine import lifecycle

    with _said_plainly():
        ensured = asyncio.run(lifecycle.ensure_cluster(url, data, typer.echo))
    typer.echo(f"export NATS_URL={ensured.shown}")
    typer.echo("workers and clients find it by that line in their shell; without `export` it may stand in .env")
    typer.echo(f"logs: {cluster.log_file(data, 1)} to -{cluster.NODES}; stores: {data / 'nats-cluster'}")


@broker.command("stop")
def broker_stop(data: Data = DEFAULT_DATA) -> None:
    """Stop the broker that was started here, or the cluster."""
    from golek_worker.machine import lifecycle, runfile

    if not lifecycle.stop_broker(data, typer.echo):
        typer.echo("no broker of ours runs")
    waiting = [state for state in runfile.read_all(data) if runfile.alive(state)]
    if waiting:
        names = ", ".join(f"{state.deployment}-{state.replica}" for state in waiting)
        typer.echo(f"still running, and without a broker until one is there again: {names}")


@broker.command("config")
def broker_config(url: Url = DEFAULT_URL, data: Data = DEFAULT_DATA) -> None:
    """The server.conf with which the broker is started."""
    from golek_worker.bus import embedded

    typer.echo(embedded.server_conf(url, embedded.store_dir(data), embedded.room(data)), nl=False)


@app.command("config")
def config(
    name: Annotated[str | None, typer.Argument(help="Without it: what .env and the environment say to all.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Every setting of a deployment and where it comes from."""
    import msgspec

    from golek_worker import settings
    from golek_worker.machine import listing
    from golek_worker.settings import explain

    with _said_plainly():
        rows = explain.deployment(settings.env_file(name)) if name else explain.shared()
        rows = [row for row in rows if row.changed or not changed]
        known = [] if name else listing.deployments()
        if as_json:
            answer = {"settings": rows} if name else {"settings": rows, "deployments": known}
            typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
            return
        typer.echo("\n".join(explain.lines(rows)) or "nothing is set for all deployments, neither here nor in .env")
        for remark in settings.remarks(settings.env_file(name)) if name else explain.remarks():
            typer.echo(remark, err=True)
        if not name:
            typer.echo("\n" + listing.table(known))


@app.command("pull")
def pull(
    name: Annotated[
        str, typer.Argument(help="A deployment, or with --to a model of the catalogue.", show_default=False)
    ],
    to: Annotated[Path | None, typer.Option("--to", help="Where a model of the catalogue shall lie.")] = None,
) -> None:
    """Download a model's file now, as a start would.

    Interrupted, it goes on from there the next time.
    """
    from golek_worker.machine import pulling

    with _said_plainly():
        asyncio.run(pulling.pull(name, to, say=typer.echo))


@app.command("demo")
def demo() -> None:
    """Start golek-tiny, ask it something and show all that happens."""
    from golek_worker.machine import demo as demonstration

    with _said_plainly():
        asyncio.run(demonstration.run(typer.echo))
