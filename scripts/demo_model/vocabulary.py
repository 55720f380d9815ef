"""How does golek-tiny cut text into tokens? A byte-level BPE vocabulary, trained on our own dialogues.

Byte-level means that any text can be written without loss, also text nobody trained on. The split before the
merges is GPT-2's, which llama.cpp knows as pre-tokenizer "gpt-2".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD = "<|pad|>"
END = "<|end|>"
ASSISTANT = "<|assistant|>"
SPECIAL_TOKENS = [PAD, "<|system|>", "<|user|>", ASSISTANT, "<|tool|>", END]


class Vocabulary:
    """Text to token ids and back, with the special tokens recognised in the text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.pad_id, self.assistant_id, self.end_id = (tokenizer.token_to_id(t) for t in (PAD, ASSISTANT, END))
        self.size: int = tokenizer.get_vocab_size()
        self.brace_ids = {number for token, number in tokenizer.get_vocab().items() if token.startswith("{")}

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> Vocabulary:
        """Learn `size` tokens, the special ones first."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        special = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
        tokenizer.train_from_iterator((part for text in texts for part in special.split(text) if part), trainer)
        return cls(tokenizer)

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def tokens(self) -> list[str]:
        """Every token as it is spelt in the vocabulary, by id."""
        by_id = {number: token for token, number in self._tokenizer.get_vocab().items()}
        return [by_id[number] for number in range(len(by_id))]

    def merges(self) -> list[str]:
        """The merge rules, first learnt first, as "left right"."""
        merges = json.loads(self._tokenizer.to_str())["model"]["merges"]
        return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
