"""How does a conversation become text by a file of turn markers?

`prompt_template.json`, beside the model's file or named by PROMPT_TEMPLATE:

    {"name": "ChatML", "user_prefix": "<|im_start|>user\\n", "user_suffix": "<|im_end|>\\n",
     "model_prefix": "<|im_start|>assistant\\n", "model_suffix": "<|im_end|>\\n"}

Optional are `system_prefix` and `system_suffix`, and `stop`: strings that end an answer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from golek_wire.requests import STOP_LIMIT, TEXT_LIMIT, Message
from golek_worker.settings import Settings

FILE = "prompt_template.json"
SHIPPED = Path("data/models")
"""Folders of the models that come with Golek, whatever GOLEK_DATA says."""
Marker = Annotated[str, Meta(max_length=TEXT_LIMIT)]


class TurnMarkersError(RuntimeError):
    """The file cannot be used; the message names it, the key, and what would have been right."""


class TurnMarkers(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What stands before and after each turn."""

    name: str
    """For people."""
    user_prefix: Marker
    user_suffix: Marker
    model_prefix: Marker
    """Ends every prompt: the model goes on from here."""
    model_suffix: Marker
    system_prefix: Marker | None = None
    """Without it the system's words stand in front of the next user turn's."""
    system_suffix: Marker | None = None
    stop: Annotated[list[Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]], Meta(max_length=STOP_LIMIT)] = (
        field(default_factory=list[str])
    )
    """Strings that end an answer, beside the beginning of a user turn."""

    def __post_init__(self) -> None:
        if (self.system_prefix is None) != (self.system_suffix is None):
            raise ValueError("`system_prefix` and `system_suffix` need each other")

    @property
    def stops(self) -> list[str]:
        """What ends an answer: a model that runs on would write the next user turn."""
        begin = self.user_prefix.strip()
        return list(dict.fromkeys([*([begin] if begin else []), *self.stop]))

    def render(self, messages: Sequence[Message]) -> str | None:
        """The text of `messages`, up to where the model's answer begins; None when markers cannot express them."""
        parts: list[str] = []
        ahead: list[str] = []
        for message in messages:
            content = message.content or ""
            match message.role:
                case "user":
                    parts += [self.user_prefix, "\n\n".join([*ahead, content]), self.user_suffix]
                    ahead = []
                case "assistant" if not message.tool_calls:
                    parts += [self.model_prefix, content, self.model_suffix]
                case "system" | "developer" if self.system_prefix is not None and self.system_suffix is not None:
                    parts += [self.system_prefix, content, self.system_suffix]
                case "system" | "developer":
                    ahead.append(content)
                case _:
                    return None
        return None if ahead else "".join([*parts, self.model_prefix])


def find(chosen: Settings, model_file: Path | None) -> TurnMarkers | None:
    """The markers in the file that PROMPT_TEMPLATE names, or else beside the model's file, or else those that ship.

    `model_file` is None while it is missing, and for an engine without files. Raises TurnMarkersError.
    """
    if chosen.prompt_template:
        return read(Path(chosen.prompt_template), f"PROMPT_TEMPLATE={chosen.prompt_template}")
    folders = [SHIPPED / chosen.model_name] if chosen.model_lies_in != "none" else []
    if model_file is not None:
        folders.insert(0, model_file if model_file.is_dir() else model_file.parent)
    found = next((folder / FILE for folder in folders if (folder / FILE).exists()), None)
    return read(found, str(found)) if found is not None else None


def read(path: Path, called: str) -> TurnMarkers:
    """The markers in the file at `path`, which messages call `called`. Raises TurnMarkersError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=TurnMarkers)
    except OSError as error:
        raise TurnMarkersError(f"{called}: cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise TurnMarkersError(
            f"{called}: {error}; it takes name, user_prefix, user_suffix, model_prefix and model_suffix, and may take "
            "system_prefix with system_suffix, and stop, a list"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TurnMarkersError(f"{called}: not JSON: {error}") from None
