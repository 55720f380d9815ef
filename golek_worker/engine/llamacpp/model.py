"""What is in the GGUF file?

Loads weights and vocabulary, tells what the file says of itself, and turns text into tokens and tokens into bytes.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp
import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import EngineConfig, EngineLoadError, Ready
from golek_worker.engine.count import count_text
from golek_worker.engine.llamacpp import accents, devices, log, memory
from golek_worker.gguf import GGUFError, Header, read_header

LONG = 16
"""A text of more characters for each token of the context is likely too long for it."""
_FRAMING = 2
"""Tokens that a model may want before and after a text."""

_GUARDS = ("", "\n", "a", ".")


class Model:
    """A loaded GGUF file."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Load `config.model_path`.

        Raises EngineLoadError: no such file, not a GGUF, damaged, not supported, too large for this machine's memory.
        """
        self.path = Path(config.model_path)
        self.header = _read_header(self.path)
        self._drops_accents = accents.are_dropped(self.header)
        log.install()
        llama_cpp.llama_backend_init()
        self.size_bytes = self.path.stat().st_size
        takes_gpu = config.gpu_layers != 0 and bool(devices.gpus())
        if (problem := memory.problem(config, self.header, self.path, on_gpu=takes_gpu)) is not None:
            raise EngineLoadError(problem)
        with log.heard() as said:
            self._model = self._load(config, progress)
        self.placement = devices.placement(said)
        self.on_gpu = self.placement.offloaded > 0
        self.layers: int = self.placement.layers or llama_cpp.llama_model_n_layer(self._model) + 1
        """Those that could be on a GPU: the repeating ones and the output."""
        # Of a model in several files the first may hold no weights.
        self.size_bytes = max(self.size_bytes, llama_cpp.llama_model_size(self._model))
        self.parameters: int = llama_cpp.llama_model_n_params(self._model)
        self._vocab: llama_cpp.llama_vocab_p = llama_cpp.llama_model_get_vocab(self._model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.n_ctx_train = llama_cpp.llama_model_n_ctx_train(self._model)
        self.bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.bos_text = self._special(self.bos)
        self.eos_text = self._special(llama_cpp.llama_vocab_eos(self._vocab))
        self.ends = frozenset(t for t in range(self.n_vocab) if llama_cpp.llama_vocab_is_eog(self._vocab, t))
        """Tokens that end a text."""
        count = ctypes.c_int32()
        suppressed = llama_cpp.llama_vocab_get_suppress_tokens(self._vocab, ctypes.byref(count))
        self.suppressed: list[int] = list(suppressed[: count.value]) if suppressed else []
        """Tokens that the file says are never to be drawn."""
        self._pieces: dict[int, bytes] = {}
        self._named_pieces: dict[int, bytes] = {}
        self._special_tokens: dict[int, bool] = {}

    @property
    def handle(self) -> llama_cpp.llama_model_p:
        """llama.cpp's model."""
        return self._model

    @property
    def vocab(self) -> llama_cpp.llama_vocab_p:
        """llama.cpp's vocabulary."""
        return self._vocab

    @property
    def chat_template(self) -> str | None:
        """Jinja source, when the file has one."""
        return self.header.chat_template

    @property
    def control_names(self) -> list[str]:
        """Names that stand for tokens wherever they are written and are no part of a language: those of control tokens,
        and those that are spelled as such. llama.cpp takes harmony's `<|channel|>` out of the control tokens.
        """
        found = []
        for token in range(self.n_vocab):
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if attributes & (llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED):
                name = self._special(token)
                if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL or _is_name(name):
                    found.append(name)
        return found

    @property
    def info(self) -> ModelInfo:
        """What the file says of itself."""
        architecture = self.header.architecture
        return ModelInfo(
            architecture=architecture,
            modalities=["text"],
            parameter_count=count_text(self.parameters),
            context_size=self.n_ctx_train,
            embedding_size=llama_cpp.llama_model_n_embd(self._model),
            quantization=self.header.quantization,
            model_family=str(self.header.metadata.get("general.basename") or architecture),
            vocab_size=self.n_vocab,
            size_bytes=self.size_bytes,
        )

    def ready(self, slots: int, ctx_size: int, capabilities: list[str], *, sees: bool = False) -> Ready:
        """What every engine over this file says when it is loaded; `sees` with a projector."""
        modalities = ["text", "image"] if sees else ["text"]
        return Ready(
            info=msgspec.structs.replace(self.info, context_size=ctx_size, modalities=modalities),
            capabilities=[*capabilities, "vision"] if sees else capabilities,
            device=self.placement.text,
            offloaded_layers=self.placement.offloaded,
            layers=self.layers,
            slots=slots,
            ctx_size=ctx_size,
            bos_token=self.bos_text,
            eos_token=self.eos_text,
        )

    def tokenize(self, text: str, cuts: Sequence[int] = ()) -> list[int]:
        """The tokens of `text`, special ones recognised; the model's first token is put in front once.

        What lies on two sides of a cut becomes tokens apart, so that a name with a cut in it is plain text. Raises
        BadRequestError for an empty text where the model has no first token.
        """
        if cuts:
            parts = [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
            return [*self.tokenize(text[: cuts[0]]), *(token for part in parts for token in self._further(part))]
        tokens = self._tokenize(text, add_special=not (self.bos_text and text.startswith(self.bos_text)))
        if not tokens:
            if self.bos < 0:
                raise BadRequestError("The prompt is empty: there is nothing to continue", param="input")
            return [self.bos]
        return tokens

    def _further(self, text: str) -> list[int]:
        """The tokens of a text that goes on behind another one: without a blank that was not written."""
        try:
            return self.tokenize_written(text, named=True)
        except BadRequestError:  # a tokenizer that changes what it reads, such as capitals
            return self._tokenize(text, add_special=False)

    def least_tokens(self, text: str, ctx_size: int) -> int:
        """More than `ctx_size`, and at most as many as `text` has, when its beginning tells that already; else 0.

        Cutting 10 MB into tokens takes 0.6 to 3 s, in which no other sequence gets one. So parts from the beginning are
        looked at, each four times as long as the one before, and none in a text of usual length.
        """
        size = LONG * ctx_size
        while size < len(text):
            end = text.rfind(" ", 0, size)  # words are cut into tokens apart
            found = len(self.tokenize_whole(text[: end if end > 0 else size])) - _FRAMING
            if found > ctx_size:
                return found
            size *= 4
        return 0

    def tokenize_whole(self, text: str) -> list[int]:
        """The tokens of `text`, with those that the model wants before and after it; may be none."""
        return self._tokenize(text, add_special=True)

    def tokenize_part(self, text: str, *, named: bool) -> list[int]:
        """The tokens of a part of a text, without those that the model wants around it; `named`: names of control
        tokens are these tokens.
        """
        return self._tokenize(text, add_special=False, parse_special=named)

    def tokenize_written(self, text: str, *, named: bool) -> list[int]:
        """The tokens of a text that the model wrote: their pieces joined are its bytes, with `named` those of control
        tokens too.

        Some tokenizers put a blank before a text. Behind a guard, whose tokens are dropped again, they do not.
        Raises BadRequestError for a text that this model cannot write.
        """
        piece = self.named_piece if named else self.piece
        wanted = text.encode()
        for guard in _GUARDS:
            before = self._tokenize(guard, add_special=False, parse_special=named)
            tokens = self._tokenize(guard + text, add_special=False, parse_special=named)
            written = tokens[len(before) :]
            if tokens[: len(before)] == before and b"".join(map(piece, written)) == wanted:
                return written
        raise BadRequestError(
            "resume.text: this model cannot write it; its tokens spell another text", param="resume.text"
        )

    def context_size(self, wanted: int) -> int:
        """Tokens of one sequence: `wanted`, or with 0 the model's own.

        Raises EngineLoadError for more than the model was trained with.
        """
        if (problem := memory.context_problem(wanted, self.n_ctx_train, self.path)) is not None:
            raise EngineLoadError(problem)
        return wanted or self.n_ctx_train

    def piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write none."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token, named=False)
        return piece

    def named_piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write their names, such as `<|start|>`."""
        piece = self._named_pieces.get(token)
        if piece is None:
            piece = self._named_pieces[token] = self._read_piece(token, named=True)
        return piece

    def is_special(self, token: int) -> bool:
        """True for a token with a name instead of a spelling: control tokens, and those that llama.cpp always shows.

        The latter are most of harmony's, such as `<|channel|>`, which llama.cpp takes out of the control tokens.
        """
        known = self._special_tokens.get(token)
        if known is None:
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            named = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
            known = self._special_tokens[token] = bool(attributes & named)
        return known

    def close(self) -> None:
        """Free the weights."""
        llama_cpp.llama_model_free(self._model)

    def _load(self, config: EngineConfig, progress: Callable[[int, int], None]) -> llama_cpp.llama_model_p:
        @llama_cpp.llama_progress_callback  # type: ignore[untyped-decorator]  # a ctypes type
        def report(share: float, _user_data: ctypes.c_void_p) -> bool:
            progress(int(share * self.size_bytes), self.size_bytes)
            return True

        params = llama_cpp.llama_model_default_params()
        _alive = devices.ask(params, config)
        params.progress_callback = report
        if self._drops_accents:
            overrides = accents.leave_alone()
            params.kv_overrides = overrides
        model: llama_cpp.llama_model_p | None = llama_cpp.llama_model_load_from_file(str(self.path).encode(), params)
        if model is None:
            why = log.take_error() or "it gave no reason"
            raise EngineLoadError(
                f"{self.path}: llama.cpp cannot load it: {why}. If the file is incomplete, download it again; "
                "if its architecture is unknown, a newer llama-cpp-python may know it."
            )
        return model

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        data = (accents.dropped(text) if self._drops_accents else text).encode()
        size = len(data) + 8
        tokens = (ctypes.c_int32 * size)()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, size, add_special, parse_special)
        if count < 0:
            tokens = (ctypes.c_int32 * -count)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, -count, add_special, parse_special)
        return list(tokens[:count])

    def _special(self, token: int) -> str:
        return llama_cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    def _read_piece(self, token: int, *, named: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, named)
            if length >= 0:
                return buffer.raw[:length]
            size = -length


_is_name = re.compile(r"<[|\uff5c].*[|\uff5c]>").fullmatch


def _read_header(path: Path) -> Header:
    """The header of the file at `path`. Raises EngineLoadError unless it is a whole GGUF file."""
    if not path.is_file():
        raise EngineLoadError(f"{path}: no such file. Set MODEL_PATH to a GGUF file, or ENGINE=echo for none.")
    try:
        return read_header(path)
    except OSError as error:
        raise EngineLoadError(f"{path}: cannot be read: {error.strerror}") from None
    except GGUFError as error:
        raise EngineLoadError(
            f"{path}: {error}. Set MODEL_PATH to a whole GGUF file; a file that git-lfs has not fetched yet, or one "
            "whose download broke off, looks like this too."
        ) from None
