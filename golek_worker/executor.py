"""Who writes the answer to a job?

An executor turns a request into a run of events. The local one renders the prompt and gives it to the engine's child; a
router's will ask other workers and clouds. Serving knows no difference.
"""

from typing import Protocol

from golek_wire.requests import InferenceRequest
from golek_worker.engine.base import Submit
from golek_worker.engine.host import EngineDied, EngineHost, Run
from golek_worker.job import Job
from golek_worker.prompt.build import build


class Execution:
    """One attempt to answer one job."""

    def __init__(self, run: Run, prompt: str) -> None:
        self.run = run
        self.prompt = prompt
        """What the model reads, for the log."""


class Executor(Protocol):
    """Answers jobs; `cancel` ends a run early."""

    def start(self, job: Job, request: InferenceRequest) -> Execution:
        """Begin. Raises InferenceServiceError when the request cannot run."""
        ...

    def cancel(self, job_id: str) -> None:
        """End the run of this job; it then hears `Stopped`."""
        ...


class LocalExecutor:
    """Answers with the engine of this worker."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host

    def start(self, job: Job, request: InferenceRequest) -> Execution:
        ready = self._host.ready
        if ready is None:
            return Execution(_died(), "")
        prompt = build(request, ready)
        return Execution(self._host.submit(Submit(job.job_id, prompt, request.params, job.seed, job.stream)), prompt)

    def cancel(self, job_id: str) -> None:
        self._host.cancel(job_id)


def _died() -> Run:
    run = Run()
    run.put(EngineDied(ran=False))
    return run
