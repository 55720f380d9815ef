"""What are a text's tokens, and what do tokens write?

A model's own tokenizer, asked in this process. What a token writes is read from its bytes, one token at a time, so that
every engine of ours cuts texts alike; llguidance knows them of all kinds of tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llguidance import LLTokenizer

from golek_wire.errors import BadRequestError
from golek_worker.engine.budget import check_least

LONG = 16
"""A text of more characters for each token of the context is likely too long for it."""
_GUARDS = ("", "\n", "a", ".")
_is_name = re.compile(r"<[|\uff5c].*[|\uff5c]>").fullmatch


class Vocabulary:
    """A tokenizer of Hugging Face's."""

    def __init__(self, tokenizer: Any, follower: LLTokenizer, ends: frozenset[int]) -> None:
        """`follower` is llguidance's view of it; `ends` are the tokens that end a text."""
        self._tokenizer = tokenizer
        self._fast = getattr(tokenizer, "_tokenizer", None)
        self.follower = follower
        self.ends = ends
        added = _added(tokenizer)
        self._names = {token: name for token, (name, special) in added.items() if special or _is_name(name)}
        self.control_names = sorted(set(self._names.values()))
        """What stands for a control token wherever it is written."""
        self._hidden = {token for token, (_, special) in added.items() if special}
        self._name_in = re.compile("|".join(map(re.escape, self.control_names)) or r"(?!)")
        self._pieces: dict[int, bytes] = {}
        self.bos: int | None = tokenizer.bos_token_id
        self.bos_text: str = tokenizer.bos_token or ""
        self.eos_text: str = tokenizer.eos_token or ""
        self._first, self._last = self._frame()

    # -- tokens of texts ---------------------------------------------------------------------------------------

    def tokens(self, text: str, cuts: Sequence[int] = ()) -> list[int]:
        """The tokens of a prompt, control names recognised; the model's first token is put in front once.

        What lies on two sides of a cut becomes tokens apart. Raises BadRequestError for an empty text where the model
        has no first token.
        """
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        begun = bool(self.bos_text) and text.startswith(self.bos_text)
        found = [*([] if begun else self._first), *self._encode(parts[0])]
        for part in parts[1:]:
            found += self._further(part)
        if not found:
            if self.bos is None:
                raise BadRequestError("The prompt is empty: there is nothing to continue", param="input")
            return [self.bos]
        return found

    def whole(self, text: str) -> list[int]:
        """The tokens of a text that is read alone, with those that the model wants around it."""
        return [*self._first, *self._encode(text), *self._last]

    def written(self, text: str, *, named: bool) -> list[int]:
        """The tokens of a text that the model wrote: their pieces joined are its bytes, with `named` those of control
        tokens too.

        Raises BadRequestError for a text that this model cannot write.
        """
        found = self._behind_a_guard(text, named=named)
        if found is None:
            raise BadRequestError(
                "resume.text: this model cannot write it; its tokens spell another text", param="resume.text"
            )
        return found

    def check_length(self, text: str, ctx_size: int, name: str = "prompt") -> None:
        """Refuse a text whose beginning alone is too long. Raises ContextBudgetExceededError."""
        size = LONG * ctx_size
        while size < len(text):
            end = text.rfind(" ", 0, size)  # words are cut into tokens apart
            check_least(len(self._encode(text[: end if end > 0 else size])) - 1, ctx_size, name)
            size *= 4

    # -- what tokens write -------------------------------------------------------------------------------------

    def piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write none."""
        return b"" if token in self._hidden else self.named_piece(token)

    def named_piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write their names."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read(token)
        return found

    def is_special(self, token: int) -> bool:
        """True for a token with a name instead of a spelling."""
        return token in self._names

    def token_of(self, name: str) -> int | None:
        """The control token of this name, if it writes nothing in a text."""
        return next((token for token in self._hidden if self._names[token] == name), None)

    def _read(self, token: int) -> bytes:
        name = self._names.get(token)
        if name is not None:
            return name.encode()
        return self.follower.decode_bytes([token]) if token < self.follower.vocab_size else b""

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        if self._fast is not None:
            return list(self._fast.encode(text, add_special_tokens=False).ids)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _further(self, text: str) -> list[int]:
        """The tokens of a text that goes on behind another one: without a blank that was not written."""
        found = self._behind_a_guard(text, named=True)
        return self._encode(text) if found is None else found

    def _behind_a_guard(self, text: str, *, named: bool) -> list[int] | None:
        """Some tokenizers put a blank before a text. Behind a guard, whose tokens are dropped again, they do not."""
        piece = self.named_piece if named else self.piece
        wanted = text.encode()
        for guard in _GUARDS:
            before = self._encode(guard)
            tokens = self._encode(guard + text) if named else self._plain(guard + text)
            behind = tokens[len(before) :]
            if tokens[: len(before)] == before and b"".join(map(piece, behind)) == wanted:
                return behind
        return None

    def _plain(self, text: str) -> list[int]:
        """The tokens of `text`, in which the names of control tokens are plain text."""
        cuts = [match.start() + 1 for match in self._name_in.finditer(text)]
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [*self._encode(parts[0]), *(token for part in parts[1:] for token in self._further(part))]

    def _frame(self) -> tuple[list[int], list[int]]:
        """The tokens that the tokenizer puts before a text, and behind it."""
        inner = self._encode("a")
        around = list(self._tokenizer.encode("a", add_special_tokens=True))
        for at in range(len(around) - len(inner) + 1):
            if around[at : at + len(inner)] == inner:
                return around[:at], around[at + len(inner) :]
        return [], []


def _added(tokenizer: Any) -> dict[int, tuple[str, bool]]:
    """Tokens that were added to the vocabulary: their names, and whether they are special."""
    decoder = getattr(tokenizer, "added_tokens_decoder", {})
    return {token: (str(added.content), bool(added.special)) for token, added in decoder.items()}
