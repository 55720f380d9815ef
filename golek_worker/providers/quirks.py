"""What does a server do otherwise than its dialect says?

Each quirk of providers.yaml is a name for a few of these facts; a server may have several.
"""

from functools import reduce
from operator import or_
from typing import Final

import msgspec
from msgspec import Struct

LLAMA_SAMPLERS: Final = frozenset(
    ("top_k", "min_p", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold", "repeat_penalty",
     "repeat_last_n", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
     "dry_sequence_breakers", "mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos")
)  # fmt: skip
"""Fields of `Params` that llama.cpp's own server has under the same names."""
OPENAI_HINTS: Final = frozenset(
    ("store", "service_tier", "prediction", "verbosity", "modalities", "prompt_cache_key", "prompt_cache_retention",
     "safety_identifier", "web_search_options", "logit_bias", "user", "metadata")
)  # fmt: skip
"""Fields of OpenAI's own service that change nothing of what an answer means; servers that refuse unknown fields do not
get them."""


class Quirks(Struct, frozen=True, omit_defaults=True):
    """What a server does otherwise than OpenAI's chat completions."""

    fields: frozenset[str] = frozenset()
    """Fields of `Params` beyond OpenAI's that it reads under the same name."""
    renamed: dict[str, str] = {}
    """Fields of `Params` that it reads under another name."""
    nested: dict[str, str] = {}
    """Fields of `Params` that it reads in an object of this name."""
    completes: bool = False
    """POST /completions goes on with a text as it is."""
    schema_as: str = ""
    """How it calls there the JSON schema of the answer; empty for `response_format`, as elsewhere."""
    lacks: frozenset[str] = frozenset()
    """Fields of OpenAI's that it refuses as unknown, though they are only wishes."""
    takes_most_as: str = "max_tokens"
    """How it calls the most tokens to write."""
    knows_developer: bool = False
    """The role `developer`; the others hear it as `system`."""
    names_results: bool = False
    """Results of tools have the function's name."""
    reads_thoughts: bool = False
    """An assistant's turn may have `reasoning_content`."""
    continues: dict[str, bool] = {}
    """What a request says besides that goes on behind an assistant's last message."""
    repeats: bool = False
    """A text that goes on comes with what it goes on from."""
    hides_stop: bool = False
    """It does not say which stop string ended a text: they are looked for here, and tokens are counted meanwhile."""
    draws_as_we_do: bool = False
    """What the caller did not say has the fleet's defaults, not the server's: they are said."""
    speaks_golek: bool = False
    """Another fleet: it knows all that ours does."""

    def __or__(self, other: "Quirks") -> "Quirks":
        """Both: sets and tables together, the rest as the latter has it where that says something."""
        mine = msgspec.structs.asdict(self)
        for name, value in msgspec.structs.asdict(other).items():
            if isinstance(value, (dict, frozenset)):
                mine[name] = mine[name] | value
            elif value != getattr(PLAIN, name):
                mine[name] = value
        return Quirks(**mine)


PLAIN: Final = Quirks()
KNOWN: Final[dict[str, Quirks]] = {
    "openai": Quirks(takes_most_as="max_completion_tokens", knows_developer=True),
    "reasoning": Quirks(
        lacks=frozenset(("temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"))
    ),
    "gemini": Quirks(lacks=OPENAI_HINTS | {"parallel_tool_calls"}, names_results=True),
    "ollama": Quirks(lacks=frozenset(("logit_bias", "parallel_tool_calls"))),
    "llama-server": Quirks(
        fields=LLAMA_SAMPLERS | {"grammar"},
        completes=True,
        schema_as="json_schema",
        reads_thoughts=True,
        repeats=True,
        hides_stop=True,
    ),
    "trtllm": Quirks(
        fields=frozenset(("top_k", "min_p", "stop_token_ids", "ignore_eos")),
        renamed={"repeat_penalty": "repetition_penalty"},
        completes=True,
    ),
    "vllm": Quirks(
        fields=frozenset(("top_k", "min_p", "stop_token_ids", "ignore_eos")),
        renamed={"repeat_penalty": "repetition_penalty"},
        nested=dict.fromkeys(("grammar", "regex", "choice"), "structured_outputs"),
        completes=True,
        reads_thoughts=True,
        continues={"add_generation_prompt": False, "continue_final_message": True},
    ),
    "openrouter": Quirks(fields=frozenset(("top_k", "min_p")), renamed={"repeat_penalty": "repetition_penalty"}),
    "golek": Quirks(
        fields=LLAMA_SAMPLERS | {"grammar", "regex", "choice", "stop_token_ids", "best_of"},
        reads_thoughts=True,
        knows_developer=True,
        speaks_golek=True,
    ),
}
"""By their names in providers.yaml."""


def of(names: tuple[str, ...]) -> Quirks:
    """All of `names` together. Raises KeyError for one that is not KNOWN."""
    return reduce(or_, (KNOWN[name] for name in names), PLAIN)
