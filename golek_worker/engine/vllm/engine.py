"""How does vLLM write?

A prompt becomes tokens here, and the tokens that vLLM draws become text here, both as in the other engines: templates,
marks of thoughts and calls, stop strings and the length of the context have one place each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from llguidance.hf import from_tokenizer
from vllm.inputs import tokens_input
from vllm.sampling_params import StructuredOutputsParams

from golek_wire.errors import BadRequestError, InferenceServiceError
from golek_wire.requests import Params
from golek_worker.engine.asynchronous import Counts, EngineDiedError
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    Constraint,
    EngineConfig,
    EngineLoadError,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceStart,
    Submit,
    UnloadAdapter,
)
from golek_worker.engine.budget import tokens_left
from golek_worker.engine.logprobs import are_wanted
from golek_worker.engine.vllm import about, sampling
from golek_worker.engine.vllm.adapters import Adapters
from golek_worker.engine.vllm.constraints import structure
from golek_worker.engine.vllm.eyes import Eyes
from golek_worker.engine.vllm.runtime import Runtime
from golek_worker.engine.vllm.text import Text
from golek_worker.engine.vllm.vocabulary import Vocabulary

_LETTER = Constraint("lark", 'start: "a"')
LARGE = 64 * 1024
"""Characters of a prompt that is made into tokens in a thread: it takes tens of milliseconds."""
_URGENT = 3
"""vLLM takes the lowest number first."""


class VLLMEngine:
    """A model of Hugging Face's that writes text."""

    def __init__(self, runtime: Runtime, config: EngineConfig) -> None:
        """Raises EngineLoadError for a tokenizer that cannot be read token by token."""
        self._runtime = runtime
        self._llm = runtime.llm
        model = runtime.config.model_config
        self._vocabulary = vocabulary(runtime)
        self._eyes = Eyes.find(runtime, config.vllm)
        sees = [] if self._eyes is None else ["image"]
        self._n_vocab: int = model.get_vocab_size()
        self._scores_grammars = False
        """Whether log-probabilities are those behind a grammar: then they are not told."""
        self._by_priority = runtime.config.scheduler_config.policy == "priority"
        self._adapters = Adapters(self._llm, config.vllm.max_loras, config.vllm.max_lora_rank)
        self.ready = Ready(
            info=about.info(runtime, Path(config.model_path), ["text", *sees]),
            capabilities=["text-generation", "grammar-constrained", *(["vision"] if sees else [])],
            device=about.device(),
            slots=config.slots,
            ctx_size=model.max_model_len,
            chat_template=about.chat_template(runtime),
            bos_token=self._vocabulary.bos_text,
            eos_token=self._vocabulary.eos_text,
            control_names=sorted({*self._vocabulary.control_names, *(self._eyes.names if self._eyes else ())}),
        )

    @classmethod
    async def open(cls, config: EngineConfig, progress: Callable[[int, int], None]) -> VLLMEngine:
        """Raises EngineLoadError, also for a model that writes no token."""
        engine = cls(await Runtime.open(config, progress), config)
        try:
            await engine._try()
        except (EngineDiedError, InferenceServiceError) as error:
            raise EngineLoadError(f"{config.model_path}: it does not write a token: {error}") from None
        return engine

    async def run(self, command: SequenceStart, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        """What a sequence writes, and its end.

        Raises ContextBudgetExceededError, InvalidGrammarError, BadRequestError (empty prompt, images that
        cannot be read, an `Embed` or `Rank`, a wish that vLLM cannot do), AdapterNotFoundError, EngineDiedError.
        """
        if not isinstance(command, Submit):
            raise BadRequestError("This model writes text; it makes no vectors and ranks nothing")
        if command.images and self._eyes is None:
            raise BadRequestError("This model reads text alone; leave the images out", param="messages")
        sampling.check(command.params, self._n_vocab)
        if len(command.prompt) > LARGE:
            tokens, written = await asyncio.to_thread(self._tokens, command)
        else:
            tokens, written = self._tokens(command)
        if command.images and self._eyes is not None:
            given, prompt, of_images = await self._eyes.look(tokens, command.images)
        else:
            given, prompt, of_images = tokens_input(tokens), tokens, 0
        counts.tokens_in = len(prompt)
        counted = (command.resume and command.resume.tokens_out) or len(written)
        left = tokens_left(
            len(prompt), command.params.max_tokens, self.ready.ctx_size, len(written), counted, command.least_room,
            of_images,
        )  # fmt: skip
        if left == 0:
            shown = command.resume.text if command.resume is not None else ""
            yield Finished(command.job_id, shown, "length", len(prompt), counted)
            return
        text = Text(self._vocabulary, command, len(prompt), counted)
        given["prompt_token_ids"] = prompt + written
        async with aclosing(self._write(command, given, len(written), left, text)) as pieces:
            async for piece in pieces:
                counts.tokens_out = text.tokens_out
                if piece and command.stream:
                    yield piece
        self._runtime.meter.ended(len(prompt), text.cached)
        yield text.finished()

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or free a LoRA adapter beside what runs; how that went."""
        return await self._adapters.change(command)

    async def watch(self) -> None:
        """Raise EngineDiedError when vLLM is gone or no longer moves."""
        await self._runtime.watch()

    def gauges(self) -> Gauges:
        """What vLLM measures of itself."""
        return self._runtime.meter.gauges()

    async def close(self) -> None:
        """End vLLM's processes."""
        await self._runtime.close()

    async def _try(self) -> None:
        """Write a letter as a grammar says: the first time takes vLLM a second, for which no caller shall wait.

        No model finds it certain by itself: where it is told so, that is the grammar's doing (`logits`).
        """
        letter = Submit("load", "a", Params(max_tokens=1, logprobs=True), 0, constraint=_LETTER)
        async with aclosing(self.run(letter, Counts())) as outputs:
            async for output in outputs:
                if isinstance(output, Finished):
                    self._scores_grammars = output.logprob_sum == 0.0

    def _tokens(self, command: Submit) -> tuple[list[int], list[int]]:
        """The tokens of the prompt, and of the answer that are there already."""
        known, ctx_size = self._vocabulary, self.ready.ctx_size
        known.check_length(command.prompt, ctx_size)
        asked, cuts = command.prompt, command.cuts
        if self._eyes is not None and command.images:
            asked, cuts = self._eyes.written(asked, cuts, len(command.images))
        prompt = known.tokens(asked, cuts)
        if command.resume is None:
            return prompt, []
        known.check_length(command.resume.text, ctx_size, "resume.text")
        output = command.output
        opening = known.written(output.opening, named=True) if output.opening else []
        return prompt, opening + known.written(command.resume.text, named=output.form == "special")

    async def _write(
        self, command: Submit, given: Any, written: int, left: int, text: Text
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of a text that goes on behind `given`, of which so many tokens were `written` before."""
        told = sampling.sampling(
            command.params, command.seed, written, left, self._structure(command), ranked=text.is_scored
        )
        priority = _URGENT - command.priority if self._by_priority else 0
        adapter = self._adapters.take(command.adapter)
        try:
            with self._runtime.errors():
                outputs = self._llm.generate(given, told, command.job_id, lora_request=adapter, priority=priority)
                async with aclosing(outputs):
                    async for output in outputs:
                        yield text.take(output)
                        if text.reason is not None and not output.finished:
                            return
        finally:
            await self._adapters.give_back(adapter)

    def _structure(self, command: Submit) -> StructuredOutputsParams | None:
        if command.constraint is None:
            return None
        if self._scores_grammars and are_wanted(command.params):
            raise BadRequestError(
                f"params.logprobs: this vLLM tells how likely a token is among those that {command.constraint.param} "
                "allows, not how likely the model finds it; ask without one of the two",
                param="params.logprobs",
            )
        if command.resume is not None:
            raise BadRequestError(
                f"resume: vLLM cannot go on within {command.constraint.param}; ask anew, without `resume`",
                param="resume",
            )
        return structure(command.constraint, command.output.end_of_thoughts, self._vocabulary)


def vocabulary(runtime: Runtime) -> Vocabulary:
    """What the model's tokenizer knows. Raises EngineLoadError."""
    tokenizer = runtime.llm.get_tokenizer()
    try:
        follower = getattr(tokenizer, "llg_tokenizer", None) or from_tokenizer(
            tokenizer, max(runtime.config.model_config.get_vocab_size(), len(tokenizer))
        )
    except ValueError as error:
        raise EngineLoadError(
            f"{runtime.config.model_config.model}: its tokenizer cannot be read token by token ({error}). "
            "A tokenizer.json is needed in its folder."
        ) from None
    return Vocabulary(tokenizer, follower, about.ends(runtime))
