"""How do a sequence's tokens become an answer?

The prompt's format knows it (prompt/), and the engine does it (engine/parsing).
"""

from typing import Literal

from msgspec import Struct, field

Calls = Literal["", "harmony", "tool_call", "function", "list", "mistral", "deepseek", "llama", "object"]
"""The form of calls of tools (engine/parsing/calls.py)."""


class Output(Struct, frozen=True, omit_defaults=True):
    """What the engine must know to read an answer."""

    form: Literal["text", "special", "harmony", "marked"] = "text"
    """`text`: control tokens write nothing. `special`: they write their names, such as `<|start|>`. `harmony`: OpenAI's
    format of messages in channels. `marked`: thoughts and calls stand between marks."""
    think: tuple[str, str] | None = None
    """The marks around thoughts."""
    calls: Calls = ""
    """Empty where no tools were offered: then their marks mean nothing."""
    one_call: bool = False
    """The answer ends after the first call."""
    kinds: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """For the form `function`: the JSON types of each tool's parameters."""
    begun: str = ""
    """What the prompt ends with of what is the answer's to say: a mark that opens thoughts or a call."""
    opening: str = ""
    """What a model writes behind the prompt to come to its text; read before a text that is resumed."""

    @property
    def end_of_thoughts(self) -> str:
        """The mark behind which a constraint begins to count; empty where the prompt does not end in thoughts."""
        return self.think[1] if self.think is not None and self.begun == self.think[0] else ""
