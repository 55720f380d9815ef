"""A scripted router: it answers each request as one does whose models answered together.

Not a router, and no models: for what callers see of such an answer. What a request's `input`, or its last turn, says
decides how it goes: `partial`, an error's code, or anything else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from msgspec import structs

from golek_wire import codec, moments, subjects
from golek_wire.errors import InferenceServiceError, from_body
from golek_wire.orchestration import InferenceMetadata, Orchestration, StepEvent, StepRecord
from golek_wire.requests import InferenceRequest
from golek_wire.routing import Offer
from golek_wire.signals import ModelRecord
from tests.support.scripted_worker import Job, ScriptedWorker

MODEL: Final = "council"
MODELS: Final = ["left", "right"]
STEPS: Final = (
    StepEvent("r", "answer", "left", "participant", 1, 1, 3, "began"),
    StepEvent("r", "answer", "right", "participant", 1, 2, 3, "began"),
    StepEvent("r", "answer", "left", "participant", 1, 1, 3, "ended", "answered", 12.5, "four"),
    StepEvent("r", "answer", "right", "participant", 1, 2, 3, "ended", "answered", 14.0, "five\nor so"),
    StepEvent("r", "reconcile", "left", "reconciler", 1, 3, 3, "began"),
)
RECORDS: Final = [
    StepRecord("answer", "left", "participant", target="local:left", tokens_in=5, tokens_out=1, ms=12.5),
    StepRecord("answer", "right", "participant", target="local:right", tokens_in=5, tokens_out=3, ms=14.0),
    StepRecord("reconcile", "left", "reconciler", target="local:left", tokens_in=9, tokens_out=1, ms=8.0),
]
WHOLE: Final = Orchestration(
    "debate", MODELS, 2, 0.85, 3, 3, agreement=0.85, method="embedding", agreed=["an even number"],
    conflicts=["four or five"], steps=RECORDS,
)  # fmt: skip
PARTIAL: Final = Orchestration(
    "pipeline", MODELS, 1, None, 2, 3, partial=True, error="ENGINE_FAILED: the engine is gone", steps=RECORDS[:2]
)
METADATA: Final = InferenceMetadata("D3", "debate", MODELS, 2, compression_applied=False, context_utilization=0.25)
ERRORS: Final[dict[str, InferenceServiceError]] = {
    code: from_body(code, message, details)
    for code, message, details in (
        (
            "CONTEXT_BUDGET_EXCEEDED",
            "Content cannot fit in phi-4 context window (18000/16384 tokens)",
            {"current_tokens": 18000, "budget": 16384, "model": "phi-4", "compression_attempted": True},
        ),
        ("COMPRESSION_FAILED", "Could not compress to 512 tokens after 3 iterations", {"budget": 512}),
        ("HANDOFF_STATE_INVALID", "The handoff state lacks `goal`", {"missing": ["goal"]}),
        (
            "ORCHESTRATION_FAILED",
            "Pipeline failed at step 1: the engine is gone",
            {"step": "draft", "cause": {"code": "ENGINE_FAILED", "message": "the engine is gone"}},
        ),
        ("MODEL_NOT_FOUND", "D3 needs phi-4, which nobody serves", {"missing": ["phi-4"]}),
    )
}


@contextlib.asynccontextmanager
async def council(url: str) -> AsyncIterator[ScriptedWorker]:
    """One that answers requests for `council` until it is left."""
    worker = await (await ScriptedWorker.start(url, MODEL)).listen()
    answering = asyncio.create_task(_answer_all(worker))
    try:
        yield worker
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        await worker.close()


@contextlib.asynccontextmanager
async def announced(worker: ScriptedWorker) -> AsyncIterator[None]:
    """Inside, the fleet knows a router that offers `council` and has D3 for `auto`."""
    offer = Offer(MODEL, ["inference"], "golek", targets=MODELS, mode="debate")
    record = ModelRecord(
        "scripted-router", ["inference"], "online", "scripted", moments.stamp(), offers=[offer], config="D3",
        orchestration_mode="debate",
    )  # fmt: skip
    key = f"$KV.{subjects.MODELS_BUCKET}.{subjects.model_token(record.name)}"
    stream = worker.client.jetstream()
    await stream.publish(key, codec.encode(record))
    yield
    await stream.publish(key, headers={"KV-Operation": "DEL"})


async def _answer_all(worker: ScriptedWorker) -> None:
    while True:
        await _answer(await worker.next(patience=60))


async def _answer(job: Job) -> None:
    await job.accept()
    wanted = _last(job.request)
    progress = job.request.orchestration.progress if job.request.orchestration else "off"
    if progress != "off" and job.request.stream:
        for step in STEPS:
            await job.step(step if progress == "texts" else structs.replace(step, text=""))
    if wanted in ERRORS:
        await job.fail(ERRORS[wanted])
        return
    if job.request.stream:
        await job.chunk(1, 0, "fo")
        await job.chunk(1, 1, "ur")
    if wanted == "partial":
        await job.final("four", reason="partial", orchestration=PARTIAL, inference_metadata=METADATA)
    else:
        await job.final("four", orchestration=WHOLE, inference_metadata=METADATA)


def _last(request: InferenceRequest) -> str:
    if request.messages:
        return str(request.messages[-1].content)
    return request.input or ""
