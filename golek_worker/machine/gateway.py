"""What does this machine know of the fleet's gateway: where it serves, and why it cannot? `services` starts it."""

from pathlib import Path
from typing import Final

from golek_client.connection import shown
from golek_program.settings.http import Address, Gateway, is_loopback
from golek_worker.machine import services
from golek_worker.machine.services import Kind, Place, Say, State

KIND: Final = Kind(
    name="gateway",
    command=("golek_worker.front",),
    ping="/ping",
    start_s=30.0,  # it connects to the broker before it answers
    drain_s=32.0,
    host_key="INFERENCE_HOST",
)


def url(chosen: Gateway) -> str:
    """Where it answers."""
    return chosen.url(Address(chosen.inference_host, chosen.inference_port))


def place(chosen: Gateway) -> Place:
    """Where it shall serve."""
    plain = chosen.url(Address(chosen.inference_host, chosen.golek_health_port)).replace("https:", "http:", 1)
    return Place(
        data=chosen.data,
        url=url(chosen),
        host=chosen.inference_host,
        health_url=plain if chosen.golek_health_port else "",
        nats_url=shown(chosen.nats_url),
        remark=reached_by_others(chosen),
    )


def reached_by_others(chosen: Gateway) -> str:
    """What whoever opens it to other machines should know; empty when only this one reaches it."""
    if is_loopback(chosen.inference_host):
        return ""
    ports = [f"port {chosen.inference_port}"]
    if chosen.golek_health_port:
        ports.append(f"port {chosen.golek_health_port} (GOLEK_HEALTH_PORT)")
    said = f"other machines reach it: INFERENCE_HOST={chosen.inference_host} opens {' and '.join(ports)}"
    if chosen.golek_allow_anon:
        said += "; while nobody has a key everybody is served (GOLEK_ALLOW_ANON)"
    if not chosen.http_tls_cert:
        said += "; without HTTP_TLS_CERT keys and texts travel in the clear"
    return said


def running(data: Path) -> State | None:
    """The gateway that was started here and still runs."""
    return services.running(KIND, data)


def problems(chosen: Gateway) -> list[str]:
    """Why its addresses cannot be listened on; each names the setting, and who has the port if that is known."""
    wanted = {"INFERENCE_PORT": chosen.inference_port}
    if chosen.golek_health_port:
        wanted["GOLEK_HEALTH_PORT"] = chosen.golek_health_port
    found = []
    if (why := services.unknown_host(chosen.inference_host)) is not None:
        return [f"INFERENCE_HOST={chosen.inference_host}: {why}"]
    for key, port in wanted.items():
        if (why := services.taken(chosen.inference_host, port)) is not None:
            found.append(f"{key}={port}: {why}")
    if chosen.inference_port == chosen.golek_health_port:
        found.append(f"GOLEK_HEALTH_PORT={chosen.golek_health_port}: the gateway's own port; 0 is none")
    holders = [services.holder(chosen.data, wanted[one.partition("=")[0]], KIND) for one in found]
    return [f"{one} by {who}" if who else one for one, who in zip(found, holders, strict=True)]


async def start(chosen: Gateway, *, module: str = "", say: Say = print) -> State:
    """Start it and wait until it answers; one that runs already is taken as it is.

    The broker must be there. Raises ServiceError.
    """
    return await services.start(KIND, place(chosen), lambda: problems(chosen), say, module=module)
