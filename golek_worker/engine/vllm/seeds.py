"""How is a seed kept while a prompt is read in several steps, on a CPU?

A step that reads only a part of a prompt draws a token all the same, which vLLM throws away; then it winds the
sequence's generator back by an offset, which generators of a CPU do not have (vLLM 0.32: `CPU Generator does not use
offset`, and EngineCore is gone with all that it runs). Here the generator's state is kept before such a step and put
back behind it, so that a text does not depend on how its prompt was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from vllm.platforms import current_platform


def mend() -> None:
    """Change vLLM's runner for CPUs in this process; nothing where there is a GPU."""
    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    drawing, keeping = CPUModelRunner._sample, CPUModelRunner._bookkeeping_sync

    def sample(runner: Any, *args: Any, **named: Any) -> Any:
        states = {number: generator.get_state() for number, generator in _thrown_away(runner).items()}
        try:
            return drawing(runner, *args, **named)
        finally:
            for number, state in states.items():
                runner.input_batch.generators[number].set_state(state)

    def keep(runner: Any, *args: Any, **named: Any) -> Any:
        set_back = _thrown_away(runner)
        for number in set_back:
            del runner.input_batch.generators[number]
        try:
            return keeping(runner, *args, **named)
        finally:
            runner.input_batch.generators.update(set_back)

    CPUModelRunner._sample, CPUModelRunner._bookkeeping_sync = sample, keep


def _thrown_away(runner: Any) -> dict[int, Any]:
    """The generators of sequences whose token of this step is thrown away, by their place in the batch."""
    batch = runner.input_batch
    places = np.nonzero(runner.discard_request_mask.np[: batch.num_reqs])[0]
    return {int(place): batch.generators[int(place)] for place in places if int(place) in batch.generators}
