"""A real worker whose model is played: what it says of a step stands in the request itself.

Bus, queue, leases and log are those of any worker; only where the engine would write, a script is followed. It stands
in the caller's words, which every step of several models reads, as `<play>{"<model> <step>/<round>": act}</play>`, the
model also as `*`. A list of acts is for one try after the other, its last one for all that follow. What a script says
nothing of is echoed. An act is a text, which HANGS or HANGS_FIRST may stand behind, and LONG in; or an error's code and
details.
"""

import asyncio
import json
import math
import os
import re
from pathlib import Path
from typing import Any, Final

from golek_worker import kinds, worker
from golek_worker.engine.base import Finished, Refused, Stopped
from golek_worker.engine.host import Run
from golek_worker.job import Job
from golek_worker.text import TextExecutor, TextWork

HANGS: Final = "<hangs>"
"""Nothing more comes."""
HANGS_FIRST: Final = "<hangs first>"
"""The same, but only the first time that the step of a request is asked, whichever process is."""
HUNG: Final = "hung-"
"""Files beside the worker's are so named that remember who did."""
LONG: Final = "<long>"
"""6,000 words, which would be in the way of everybody if they stood in the script."""
PIECE_S: Final = 0.002
"""Between two words of a stream."""
_script = re.compile(r"<play>(.*?)</play>", re.DOTALL)


def script(acts: dict[str, Any]) -> str:
    """As it stands in a request."""
    return f"<play>{json.dumps(acts)}</play>"


class PlayedExecutor(TextExecutor):
    """Follows the scripts of requests that have one."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._tries: dict[tuple[str, str], int] = {}
        self.runs: dict[str, asyncio.Task[None]] = {}

    def read(self, job: Job, payload: bytes) -> TextWork:
        made = super().read(job, payload)
        found = _script.search("\n".join(turn.content or "" for turn in made.request.messages or []))
        acts = json.loads(found[1]) if found is not None else {}
        act = acts.get(f"{self.model} {job.step}", acts.get(f"* {job.step}"))
        return made if act is None else PlayedWork(self, job, made, self._of_this_try(job, act))

    def cancel(self, job_id: str) -> None:
        if job_id in self.runs:
            self.runs[job_id].cancel()
        else:
            super().cancel(job_id)

    def _of_this_try(self, job: Job, acts: Any) -> Any:
        key = (job.parent, job.step)
        number = self._tries[key] = self._tries.get(key, -1) + 1
        return acts[min(number, len(acts) - 1)] if isinstance(acts, list) else acts


class PlayedWork(TextWork):
    """One request that is answered by a script."""

    def __init__(self, executor: PlayedExecutor, job: Job, made: TextWork, act: Any) -> None:
        super().__init__(executor, job, made.request)
        self._act = act
        self._runs = executor.runs

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:
        run, job_id = Run(), self._job.job_id
        self._runs[job_id] = task = asyncio.get_running_loop().create_task(self._play(run))
        task.add_done_callback(lambda _: self._runs.pop(job_id, None))
        return run

    async def _play(self, run: Run) -> None:
        job_id, act = self._job.job_id, self._act
        if isinstance(act, dict):
            run.put(Refused(job_id, act["code"], "so says the script", act.get("details", {})))
            return
        hangs = HANGS in act or (HANGS_FIRST in act and self._is_first())
        text = act.replace(HANGS, "").replace(HANGS_FIRST, "").replace(LONG, " word" * 6000)
        words = re.findall(r"\s*\S+", text)
        try:
            for word in words if self._job.stream else ():
                run.put(word)
                await asyncio.sleep(PIECE_S)
            if hangs:
                await asyncio.Event().wait()
            run.put(Finished(job_id, text, "stop", 10, len(words)))
        except asyncio.CancelledError:
            run.put(Stopped(job_id, 10, 0))

    def _is_first(self) -> bool:
        """Whether nobody hung in it yet, as a file beside the worker's says."""
        job = self._job
        mark = Path(os.environ["GOLEK_DATA"]) / f"{HUNG}{job.req_id}-{job.step.replace('/', '-')}-{job.seed}"
        if mark.exists():
            return False
        mark.touch()
        return True


def main() -> None:
    """A worker as `golek_worker.worker` starts it."""
    usual = kinds.executor

    def played(kind: Any, host: Any, chosen: Any, model: Any, max_payload: int, stored: Any) -> Any:
        made = usual(kind, host, chosen, model, max_payload, stored)
        return PlayedExecutor(host, chosen, model, stored) if isinstance(made, TextExecutor) else made

    kinds.executor = played
    worker.main()


if __name__ == "__main__":
    main()
