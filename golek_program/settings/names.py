"""Which names does a setting answer to, and which keys are another program's?

Data only. A setting's own name is that of its field in `Settings`; `ALIASES` holds the names that other products gave
it, the strongest first. `AnotherGateway` holds the keys that are known and checked and have no effect.
"""

from msgspec import Struct

ALIASES: dict[str, tuple[str, ...]] = {
    "WORKER_CONCURRENCY": (
        "INFERENCE_MAX_CONCURRENT_PER_MODEL",
        "INFERENCE_MAX_CONCURRENT_REQUESTS",
        "MAX_CONCURRENT_REQUESTS",
    ),
    "GPU_LAYERS": ("INFERENCE_GPU_LAYERS", "NGL"),
    "MODEL_PATH": ("LLM_MODEL",),
    "ENGINE": ("INFERENCE_BACKEND",),
    "GOLEK_LOG_LEVEL": ("INFERENCE_LOG_LEVEL",),
}
"""Other names of a setting. Its own name wins over them, an earlier one over a later one."""

OWN_NAME: dict[str, str] = {alias: key for key, aliases in ALIASES.items() for alias in aliases}

PREFIXES = ("GOLEK_", "HARMONY_", "INFERENCE_", "MODEL_", "MONITOR_", "WORKER_")
"""An unknown key of `.env` is ours, and worth a word, when it begins like this; others may belong to other programs."""

SECRETS = ("MONITOR_KEY", "NATS_PASSWORD", "NATS_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS", "SERVER_KEY")
"""Settings whose value is never shown."""

SPELLINGS: dict[str, dict[str, str]] = {"ENGINE": {"tensorrt": "trtllm"}}
"""Other spellings of a setting's values, in small letters."""

CLOUDS: dict[str, tuple[str, ...]] = {
    "ENGINE": ("anthropic", "gemini"),
}
"""Values that other products have, and that name clouds. No worker here is one: a router asks them."""
WHY_NO_CLOUD = "a cloud, which a router asks: docs/router.md"


class AnotherGateway(Struct, frozen=True, kw_only=True):
    """Keys of another gateway, which may stand in the same `.env`. They are checked; Golek never reads them, so nobody
    is warned that they do nothing.
    """

    llm_gateway_inference_enabled: bool = False
    """For a gateway in front of the fleet: whether it sends requests here."""
    llm_gateway_inference_service_url: str = ""
    """For a gateway in front of the fleet: where this fleet's gateway answers."""


NOT_READ: dict[str, str] = {name.upper(): name for name in AnotherGateway.__struct_fields__}
WHY_NOT_READ = "not read by Golek: a setting of another gateway"
