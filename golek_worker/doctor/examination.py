"""What can this machine run, and what would have to be installed?"""

from collections.abc import AsyncIterator
from pathlib import Path

from golek_worker import settings
from golek_worker.doctor import deployments, hardware, runtimes, surroundings
from golek_worker.doctor.finding import Finding
from golek_worker.machine.lifecycle import ENVS


async def machine(envs: Path = ENVS) -> AsyncIterator[Finding]:
    """All that can be said of this machine, a line as soon as it is known."""
    data = Path(settings.shared("GOLEK_DATA") or "data")
    for finding in hardware.findings(data):
        yield finding
    for finding in runtimes.findings():
        yield finding
    async for finding in surroundings.findings(data):
        yield finding
    async for finding in deployments.findings(envs):
        yield finding


async def deployment(name: str, envs: Path = ENVS) -> AsyncIterator[Finding]:
    """What the deployment `name` needs: its engine, and all else that its start would look at."""
    chosen, _ = settings.read(settings.env_file(name, envs))
    if chosen is not None:
        for finding in runtimes.of(chosen):
            yield finding
    yield await deployments.of(name, envs, asked=True)


def is_well(findings: list[Finding]) -> bool:
    """Whether nothing is missing that a deployment of this machine needs."""
    return not any(finding.is_needed for finding in findings)
