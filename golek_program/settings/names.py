"""Which names does a setting answer to, and which keys wait for what they belong to?

Data only. A setting's own name is that of its field in `Settings`; `ALIASES` holds the names that other products gave
it, the strongest first. `Planned` holds the keys that are known and checked and have no effect, or none yet.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

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

SECRETS = ("MONITOR_KEY", "NATS_PASSWORD", "NATS_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS")
"""Settings whose value is never shown."""

NOT_YET_VALUES: dict[str, tuple[str, ...]] = {
    "ENGINE": ("anthropic", "gemini", "litert", "llama-server", "ollama", "openai", "tensorrt", "vllm"),
}
"""Values that have their place in the plan. A worker that ran without them would not be what was asked for, so each is
an error."""

Rounds = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Planned(Struct, frozen=True, kw_only=True):
    """Keys that are known, checked, and without effect; in capitals, with the default they have or will have."""

    llm_gateway_inference_enabled: bool = False
    """For a gateway in front of the fleet: whether it sends requests here."""
    llm_gateway_inference_service_url: str = ""
    """For a gateway in front of the fleet: where this fleet's gateway answers."""
    inference_config: Annotated[str, Meta(pattern="^(S[1-8]|D([1-9]|1[0-5]|4v2)|T([1-9]|1[0-3])|Q[1-7]|P[1-6])$")] = ""
    """Preset: which models are loaded, and how they work together."""
    inference_orchestration_mode: Literal["single", "critique", "debate", "ensemble", "pipeline"] = "single"
    """How several models answer together."""
    inference_critique_max_rounds: Rounds = 2
    """Mode critique: most rounds of critique and revision."""
    inference_critique_threshold: Share = 0.8
    """Mode critique: an answer this good is taken as it is."""
    inference_debate_max_rounds: Rounds = 3
    """Mode debate: most rounds until the models agree."""
    inference_debate_reconcile_model: str = "primary"
    """Mode debate: role or model that settles what they do not agree on."""
    inference_ensemble_min_agreement: Share = 0.7
    """Mode ensemble: below this agreement the answer is flagged."""
    inference_ensemble_synthesis_model: str = "primary"
    """Mode ensemble: role or model that makes one answer of all."""
    inference_pipeline_stages: str = "draft,refine,validate"
    """Mode pipeline: its stages in order."""


ANOTHER_GATEWAY = "another gateway"
"""Its settings may stand in the same `.env`. Golek will never read them, so nobody is warned that they do nothing."""

CAPABILITIES: dict[str, tuple[str, ...]] = {
    ANOTHER_GATEWAY: ("LLM_GATEWAY_",),
    "presets": ("INFERENCE_CONFIG",),
    "orchestration": (
        "INFERENCE_ORCHESTRATION_MODE",
        "INFERENCE_CRITIQUE_",
        "INFERENCE_DEBATE_",
        "INFERENCE_ENSEMBLE_",
        "INFERENCE_PIPELINE_",
    ),
}
"""What a key of `Planned` waits for or belongs to, by how the key begins."""

PLANNED: dict[str, str] = {name.upper(): name for name in Planned.__struct_fields__}


def capability(key: str) -> str:
    """What the planned `key` waits for or belongs to."""
    return next(name for name, beginnings in CAPABILITIES.items() if key.startswith(beginnings))


def why_without_effect(key: str) -> str:
    """Why the planned `key` does nothing."""
    owner = capability(key)
    return (
        f"not read by Golek: a setting of {owner}" if owner == ANOTHER_GATEWAY else f"no effect yet: waits for {owner}"
    )
