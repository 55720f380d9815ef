"""What has each server of its own: how it is started, where it says that it is well, and what it measures?

Data. What it reads of a request otherwise than OpenAI's API says stands in golek_worker/providers/quirks.py.
"""

from typing import Final, Literal

from msgspec import Struct, field

from golek_worker.engine.names import EngineName
from golek_worker.providers.quirks import KNOWN, Quirks


class Dialect(Struct, frozen=True):
    """One kind of server."""

    health: str = "/v1/models"
    """What answers with 200 once it takes requests; paths are those below its root."""
    url: str = ""
    """Where it is unless somebody says otherwise; empty where nobody knows."""
    command: tuple[str, ...] = ()
    """How it is started unless somebody says otherwise; empty where nobody knows. `{host}`, `{port}` and `{model}` are
    put in. llama-server's has many parts: commands.py."""
    surroundings: dict[str, str] = field(default_factory=dict[str, str])
    """Variables of its environment, with the same put in."""
    quirks: Quirks = Quirks(completes=True)
    measures: dict[str, str] = field(default_factory=dict[str, str])
    """What it measures of itself, by the names in `Gauges` -> those of GET /metrics; empty where it has none."""
    counts: Literal["", "llama", "vllm"] = ""
    """By whose POST /tokenize it says how many tokens a text has; empty where it does not."""
    to_install: str = ""
    """Where its program comes from, for people."""


VLLM: Final = Dialect(
    health="/health",
    quirks=KNOWN["vllm"],
    counts="vllm",
    measures={"waiting": "vllm:num_requests_waiting", "running": "vllm:num_requests_running"},
)
"""An `openai` that turns out to be one."""
DIALECTS: Final[dict[EngineName, Dialect]] = {
    "llama-server": Dialect(
        health="/health",
        surroundings={"LLAMA_API_KEY": "{key}"},
        quirks=KNOWN["llama-server"],
        counts="llama",
        measures={"waiting": "llamacpp:requests_deferred", "running": "llamacpp:requests_processing"},
        to_install="`make build-llama-server` builds it",
    ),
    "ollama": Dialect(
        health="/api/version",
        url="http://127.0.0.1:11434",
        command=("ollama", "serve"),
        surroundings={"OLLAMA_HOST": "{host}:{port}"},
        quirks=KNOWN["ollama"],
        to_install="Ollama's own installer brings it",
    ),
    "trtllm": Dialect(
        health="/health",
        command=("trtllm-serve", "{model}", "--host", "{host}", "--port", "{port}"),
        quirks=KNOWN["trtllm"],
        to_install="the package tensorrt-llm brings it",
    ),
    "openai": Dialect(),
}
OWNERS: Final[dict[str, Dialect]] = {
    "vllm": VLLM,
    "llamacpp": DIALECTS["llama-server"],
    "library": DIALECTS["ollama"],
    "tensorrt_llm": DIALECTS["trtllm"],
}
"""What an `openai` turns out to be, by `owned_by` of its models."""
