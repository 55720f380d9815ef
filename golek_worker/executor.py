"""Who writes the answer to a job?

An executor turns a request into a run of events. The local one renders the prompt and gives it to the engine's child; a
router's will ask other workers and clouds. Serving knows no difference.
"""

from typing import Protocol

import msgspec

from golek_wire.requests import STOP_LIMIT, InferenceRequest, Params
from golek_worker.engine.base import Ready, Submit
from golek_worker.engine.host import EngineDied, EngineHost, Run
from golek_worker.job import Job
from golek_worker.prompt import turns
from golek_worker.prompt.base import Format
from golek_worker.prompt.build import build, choose
from golek_worker.settings import Settings

CAPABILITIES = ("text-generation", "embeddings", "reasoning", "tool-calling", "grammar-constrained")
"""In the order in which they are told."""


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

    def __init__(self, host: EngineHost, chosen: Settings) -> None:
        """Raises TurnMarkersError when the deployment's prompt template is wrong."""
        self._host = host
        self._chosen = chosen
        self._markers = turns.find(chosen.prompt_template, chosen.model_file if chosen.engine == "llamacpp" else None)
        self._format: Format | None = None
        self._format_for: Ready | None = None

    @property
    def capabilities(self) -> list[str]:
        """What engine and prompt format can do together; nothing before the model is loaded."""
        ready = self._host.ready
        if ready is None:
            return []
        writes = "text-generation" in ready.capabilities
        found = {*ready.capabilities, *(self._form(ready).capabilities if writes else ())}
        return [name for name in CAPABILITIES if name in found]

    def start(self, job: Job, request: InferenceRequest) -> Execution:
        ready = self._host.ready
        if ready is None:
            return Execution(_died(), "")
        prompt = build(request, self._form(ready))
        params = with_stops(request.params, prompt.stops)
        submit = Submit(job.job_id, prompt.text, params, job.seed, job.stream, prompt.output)
        return Execution(self._host.submit(submit), prompt.text)

    def cancel(self, job_id: str) -> None:
        self._host.cancel(job_id)

    def _form(self, ready: Ready) -> Format:
        """The model's prompt format, compiled once for each load."""
        if self._format is None or self._format_for is not ready:
            self._format = choose(self._chosen, self._markers, ready.chat_template, ready.bos_token, ready.eos_token)
            self._format_for = ready
        return self._format


def with_stops(params: Params, stops: list[str]) -> Params:
    """`params` with the stop strings of the prompt format, as far as there is room beside the caller's own.

    They stand for the model's own end, which `ignore_eos` writes past.
    """
    if not stops or params.ignore_eos:
        return params
    return msgspec.structs.replace(params, stop=list(dict.fromkeys([*params.stops, *stops]))[:STOP_LIMIT])


def _died() -> Run:
    run = Run()
    run.put(EngineDied(ran=False))
    return run
