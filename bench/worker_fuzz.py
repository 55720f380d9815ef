"""Does a caller get what it would get alone, whatever else is asked of a worker?

FUZZ_BUS_REQUESTS random requests that mix all that a caller may ask (worker_requests.py), FUZZ_BUS_TOGETHER at a time,
through a broker to one worker with golek-tiny behind a template that knows calls and thoughts, and to one with the echo
engine; two LoRA adapters are loaded by order, a third one comes and goes; some callers go away. Then each alone,
streamed where it was not.

To be 0, and told one by one: `failed`, requests with neither an answer nor a refusal; `streams_differ`, whose joined
pieces are not the reply; `invalid`, answers that are not what was asked for (a schema, a choice, an expression, a call
by its schema). To be 0 as well: `restarts` of the engine, and `kv_cells_idle`, what the cache holds for nobody.

`differences`, `near_ties`, `others` and `share` are those of engine_fuzz.py, per text. With best_of a difference counts
as explained where any of the texts written leads to it.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine_fuzz import NUDGES, Judge, common, scores_agree, written
from support import ROOT, WorkerProcess, broker, figure, note
from worker_requests import ECHO, STORED, Question, invalid, question
from worker_requests import MODEL as NAME

from golek_client import Delta, Golek, InferenceReply, InferenceServiceError, NonRetriableError
from golek_client.options import build
from golek_wire.replies import Choice, TokenLogprob
from golek_worker.adapters import AdapterBook
from golek_worker.engine.base import EngineConfig, LoadAdapter, Ready, Submit
from golek_worker.engine.host import Run
from golek_worker.job import Job
from golek_worker.settings import Settings
from golek_worker.structure import built_in
from golek_worker.text import TextExecutor
from tests.support import adapters

BENCH = "worker_fuzz"
REQUESTS = int(os.environ.get("FUZZ_BUS_REQUESTS", "400"))
FIRST = int(os.environ.get("FUZZ_BUS_FIRST", "0"))
TOGETHER = int(os.environ.get("FUZZ_BUS_TOGETHER", "24"))
SLOTS, CTX_SIZE, THREADS = 6, 1024, 1
DEADLINE_S = 120.0
PASSING_S = 0.2
IDLE_S = 10.0
MODEL = ROOT / "data/models/golek-tiny/model.gguf"
ADAPTERS = ("a", "b", "passing")
TEMPLATE = (
    "{% if tools %}<|system|>Tools: {{ tools | tojson }}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}"
    '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}}\n</tool_call>'
    "{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
"""golek-tiny's turns, with calls and thoughts as Qwen's models write them."""
Answer = InferenceReply | InferenceServiceError


class Asking:
    """Requests beside each other or one by one, and what may not happen meanwhile."""

    def __init__(self, golek: Golek) -> None:
        self._golek = golek
        self.failed: list[str] = []
        self.streams_differ: list[str] = []
        self.invalid: list[str] = []
        self.gone = 0

    async def all(self, questions: list[Question], together: int) -> dict[int, Answer]:
        """The answers by number; of callers who went away there is none."""
        places, answers = asyncio.Semaphore(together), dict[int, Answer]()

        async def ask(asked: Question) -> None:
            async with places:
                try:
                    async with asyncio.timeout(asked.leaves_after):
                        answers[asked.number] = await self._ask(asked)
                except TimeoutError:
                    self.gone += 1

        await asyncio.gather(*map(ask, questions))
        return answers

    async def _ask(self, asked: Question) -> Answer:
        try:
            if asked.stream:
                stream = self._send(asked, stream=True)
                async with stream:
                    pieces = [piece async for piece in stream.pieces()]
                reply = stream.reply
                self._check_stream(asked, pieces, reply)
            else:
                reply = await self._send(asked)
        except InferenceServiceError as error:
            if not isinstance(error, NonRetriableError) or error.code in ("DEADLINE_EXCEEDED", "STREAM_INTERRUPTED"):
                self._tell(self.failed, asked, f"{error.code}: {error.message}")
            return error
        for choice in reply.all_choices:
            if problem := invalid(asked.options, choice):
                self._tell(self.invalid, asked, f"{problem}: {choice}")
        return reply

    def _send(self, asked: Question, **more: Any) -> Any:
        """The reply, or with `stream` the stream."""
        if not isinstance(asked.said, str):
            return self._golek.chat(asked.model, asked.said, **more, **asked.options)
        send = self._golek.stream if more else self._golek.ask
        return send(asked.model, asked.said, **asked.options)

    def _check_stream(self, asked: Question, pieces: list[Delta], reply: InferenceReply) -> None:
        """Each text's pieces are the reply."""
        begun = asked.options["resume"].text if "resume" in asked.options else ""
        joined = Joined(pieces)
        for choice in reply.all_choices:
            found, wanted = joined.of(choice.index, begun), parts(choice)
            if found != wanted:
                self._tell(self.streams_differ, asked, f"joined {found}, reply {wanted}")
        if more := joined.indices - {choice.index for choice in reply.all_choices}:
            self._tell(self.streams_differ, asked, f"pieces of the texts {more}, which the reply has not")

    def _tell(self, which: list[str], asked: Question, problem: str) -> None:
        which.append(problem)
        note(f"BROKEN question({asked.number}), stream={asked.stream}: {problem}")


class Joined:
    """What the pieces of a stream add up to, by text."""

    def __init__(self, pieces: Iterable[Delta]) -> None:
        self._texts: dict[int, str] = defaultdict(str)
        self._thoughts: dict[int, str] = defaultdict(str)
        self._calls: dict[int, dict[int, tuple[str, str, str]]] = defaultdict(dict)
        self._logprobs: dict[int, list[TokenLogprob]] = defaultdict(list)
        self.indices = set[int]()
        for piece in pieces:
            self.indices.add(piece.index)
            self._texts[piece.index] += piece.text
            self._thoughts[piece.index] += piece.reasoning_content
            self._logprobs[piece.index] += piece.logprobs or []
            calls = self._calls[piece.index]
            for call in piece.tool_calls or []:
                head, name, arguments = calls.get(call.index, ("", "", ""))
                calls[call.index] = (head + call.id, name + call.name, arguments + call.arguments)

    def of(self, index: int, begun: str) -> tuple[Any, ...]:
        """As `parts`."""
        calls = [call for _, call in sorted(self._calls[index].items())]
        return (begun + self._texts[index], self._thoughts[index], calls, self._logprobs[index])


def parts(choice: Choice) -> tuple[Any, ...]:
    """What a stream tells of a text."""
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.tool_calls or []]
    return (choice.text, choice.reasoning_content or "", calls, choice.logprobs or [])


# -- why two texts differ ----------------------------------------------------------------------------------------


def same(one: Choice, other: Choice) -> bool:
    """Whether two texts are alike in all but their calls' ids, log-probabilities within 0.05."""
    return seen(one) == seen(other) and scores_agree(one, other)


def seen(choice: Choice) -> tuple[Any, ...]:
    calls = [call.function for call in choice.tool_calls or []]
    return (choice.text, choice.reasoning_content, calls, choice.finish_reason, choice.tokens_out)


class Recorder:
    """Takes an engine's place: what a worker would have it write is kept."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.adapters = AdapterBook()
        self.submits: list[Submit] = []

    def submit(self, command: Submit, _run: Run | None = None) -> Run:
        self.submits.append(command)
        return Run()

    def cancel(self, _job_id: str) -> None:
        """Nothing runs."""


def submits_of(asked: Question, ready: Ready) -> list[Submit]:
    """What a worker makes of a question, per text."""
    recorder = Recorder(ready)
    stored = STORED | {name: grammar.content for name, grammar in built_in().items()}
    chosen = Settings(model_name=NAME)
    executor = TextExecutor(recorder, chosen, None, stored.get)  # type: ignore[arg-type]
    said: Any = {"prompt": asked.said} if isinstance(asked.said, str) else {"messages": asked.said}
    payload = build(asked.options, **said, stream=False, deadline=DEADLINE_S)  # type: ignore[arg-type]
    job = Job(f"{asked.number}", "", "", False, "", asked.options["seed"], 0, "", {})
    executor.read(job, payload).start()
    return recorder.submits


class Compared:
    """How many texts were compared, and why some differ."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.texts = self.near = self.others = 0

    def add(self, asked: Question, beside: Answer, alone: Answer) -> None:
        """Both answers to a question."""
        if isinstance(beside, InferenceServiceError) or isinstance(alone, InferenceServiceError):
            self.texts += 1
            if (known := refusal(beside)) != (other := refusal(alone)):
                self._count(asked, float("inf"), f"{known}", f"{other}")
            return
        left, right = beside.all_choices, alone.all_choices
        self.texts += len(left)
        if (beside.tokens_in, len(left)) != (alone.tokens_in, len(right)):
            self._count(asked, float("inf"), f"{beside}", f"{alone}")
            return
        for one, other in zip(left, right, strict=True):
            if not same(one, other):
                self._count(asked, self._gap(asked, one, other), written(one), written(other))

    def _gap(self, asked: Question, one: Choice, other: Choice) -> float:
        """How much logits must change for one text to become the other."""
        if written(one) == written(other) or asked.model == ECHO:
            return float("inf")
        submits = submits_of(asked, self._judge.ready)
        if asked.options.get("best_of", 1) > asked.options.get("n", 1):
            return max(min(self._judge.gap(job, written(text)) for job in submits) for text in (one, other))
        return self._judge.gap(submits[one.index], written(one), written(other))

    def _count(self, asked: Question, gap: float, beside: str, alone: str) -> None:
        is_near = gap <= NUDGES[-1]
        self.near, self.others = self.near + is_near, self.others + (not is_near)
        parted = max(0, common(beside, alone) - 12)
        name = "near tie" if is_near else "DIFFERENT"
        note(f"{name} of {gap}: question({asked.number}): {beside[parted:][:60]!r}, alone {alone[parted:][:60]!r}")


def refusal(answer: Answer) -> tuple[object, ...]:
    """What a refusal is about."""
    return (answer.code, answer.details.get("param")) if isinstance(answer, InferenceServiceError) else ()


# -- all of it ---------------------------------------------------------------------------------------------------


def with_template(path: Path) -> Path:
    """The demo model with another template, at `path`."""
    command = ["gguf.scripts.gguf_new_metadata", "--force", "--chat-template", TEMPLATE, str(MODEL), str(path)]
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    return path


async def come_and_go(golek: Golek, path: Path) -> None:
    """An adapter is loaded and unloaded, until this is cancelled."""
    while True:
        reports = await golek.load_adapter(NAME, "passing", str(path))
        await asyncio.sleep(PASSING_S)
        reports += await golek.unload_adapter(NAME, "passing")
        for problem in [report.problem for report in reports if report.problem is not None]:
            note(f"adapter passing: {problem}")


async def kv_cells_idle(golek: Golek) -> int:
    """Cells of the KV cache that sequences hold once none runs. Raises TimeoutError while some do, or nobody says."""
    async with asyncio.timeout(IDLE_S):
        while True:
            stats = (await golek.health(NAME)).engine_stats
            if stats is not None and stats.running == stats.waiting == 0 and stats.kv_cells is not None:
                return stats.kv_cells
            await asyncio.sleep(0.1)


async def measure(worker: WorkerProcess, golek: Golek, paths: list[Path], judge: Judge) -> None:
    """All figures."""
    for name, content in STORED.items():
        await golek.put_grammar(name, content)
    *loras, passing = paths
    for lora in loras:
        await golek.load_adapter(NAME, lora.stem, str(lora))
    questions = [question(number, [lora.stem for lora in loras]) for number in range(FIRST, FIRST + REQUESTS)]
    engine = worker.child.pid
    asking, compared = Asking(golek), Compared(judge)
    visitor = asyncio.create_task(come_and_go(golek, passing))
    beside = await asking.all(questions, TOGETHER)
    visitor.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await visitor
    gone = asking.gone
    cells = [await kv_cells_idle(golek)]
    alone = await asking.all([asked.by_itself for asked in questions if asked.number in beside], 1)
    cells.append(await kv_cells_idle(golek))
    restarts = int(worker.child.pid != engine)
    for asked in questions:
        if asked.number in beside:
            compared.add(asked, beside[asked.number], alone[asked.number])
    refused = sum(isinstance(answer, InferenceServiceError) for answer in beside.values())
    counts = {"failed": len(asking.failed), "streams_differ": len(asking.streams_differ)}
    counts |= {"invalid": len(asking.invalid), "restarts": restarts, "refused": refused, "gone": gone}
    for name, count in counts.items():
        figure(BENCH, name, count, None, "requests", REQUESTS)
    figure(BENCH, "kv_cells_idle", max(cells), None, "cells", len(cells))
    differences = compared.near + compared.others
    for name, count in {"differences": differences, "near_ties": compared.near, "others": compared.others}.items():
        figure(BENCH, name, count, None, "texts", compared.texts)
    figure(BENCH, "share", differences / compared.texts, None, "share", compared.texts)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as scratch, broker() as url:
        folder = Path(scratch)
        model = with_template(folder / "model.gguf")
        paths = [adapters.write(folder / f"{name}.gguf", model, seed) for seed, name in enumerate(ADAPTERS)]
        loras = [LoadAdapter(path.stem, str(path)) for path in paths[:-1]]
        judge = Judge(EngineConfig("llamacpp", str(model), SLOTS, CTX_SIZE, THREADS), loras)
        sizes = {"MODEL_PATH": model, "WORKER_CONCURRENCY": SLOTS, "CTX_SIZE": CTX_SIZE, "MODEL_THREADS": THREADS}
        with (
            WorkerProcess(url, folder / "data", NAME, GOLEK_LOG_LEVEL="warning", **sizes) as worker,
            WorkerProcess(url, folder / "data", ECHO, GOLEK_LOG_LEVEL="warning", MODEL_FORMAT="harmony"),
        ):
            async with Golek(url, deadline=DEADLINE_S) as golek:
                await measure(worker, golek, paths, judge)


if __name__ == "__main__":
    asyncio.run(main())
