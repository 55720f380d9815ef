"""Who writes the answer to a job?

An executor turns a request into a run of events. The local one renders the prompt and gives it to the engine's child; a
router's will ask other workers and clouds. Serving knows no difference.
"""

from typing import Protocol

from golek_wire.requests import InferenceRequest
from golek_worker.engine.base import Ready, Submit
from golek_worker.engine.host import EngineDied, EngineHost, Run
from golek_worker.job import Job
from golek_worker.prompt.build import build
from golek_worker.prompt.templates import ChatTemplate


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
        self._compiled: ChatTemplate | None = None
        self._compiled_for: Ready | None = None

    def start(self, job: Job, request: InferenceRequest) -> Execution:
        ready = self._host.ready
        if ready is None:
            return Execution(_died(), "")
        prompt = build(request, self._template(ready))
        return Execution(self._host.submit(Submit(job.job_id, prompt, request.params, job.seed, job.stream)), prompt)

    def cancel(self, job_id: str) -> None:
        self._host.cancel(job_id)

    def _template(self, ready: Ready) -> ChatTemplate | None:
        """The model's chat template, compiled once for each load."""
        if self._compiled_for is not ready:
            source = ready.chat_template
            self._compiled = None if source is None else ChatTemplate(source, ready.bos_token, ready.eos_token)
            self._compiled_for = ready
        return self._compiled


def _died() -> Run:
    run = Run()
    run.put(EngineDied(ran=False))
    return run
