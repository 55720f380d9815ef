"""vLLM keeps the contract of engines, and does what is its own."""

import re

import msgspec
import pytest

from golek_wire.replies import Delta
from golek_wire.requests import Resume
from golek_worker.engine.base import Constraint, Finished, LoadAdapter, Refused, UnloadAdapter
from golek_worker.engine.host import EngineDied
from golek_worker.output import Output
from tests.engines.life import Runtime
from tests.engines.subject import CONSTRAINTS, Served, first
from tests.engines.writing import Writing
from tests.support.leaving import left_later
from tests.vllm import place

pytestmark = [place.needs_vllm, pytest.mark.timeout(180)]
GRAMMAR = CONSTRAINTS[0][0]
RECURSIVE = Constraint("gbnf", 'root ::= answer | "[" root "]"\nanswer ::= "x" | "(" answer ")"'), r"\[*\(*x\)*\]*"


SUBJECTS = [place.SUBJECT]


class TestWriting(Writing):
    """Of texts."""


@pytest.mark.asyncio(loop_scope="module")
class TestOwn:
    """What vLLM does in its own way."""

    async def test_it_tells_how_prompts_are_made(self, served: Served) -> None:
        """The folder's template and tokens: the worker makes prompts of conversations by them."""
        ready = served.ready
        assert "<|im_start|>" in (ready.chat_template or "")
        assert (ready.bos_token, ready.eos_token) == ("<|begin|>", "<|im_end|>")
        assert {"<|im_start|>", "<|im_end|>", "<|begin|>"} <= set(ready.control_names)
        assert ready.info.parameter_count.endswith("K")

    async def test_names_of_control_tokens_are_these_tokens_unless_cut(self, served: Served) -> None:
        """What a caller wrote is plain text, and the first token is there once."""
        base = (await served.written(served.text("ab", tokens=1))).tokens_in
        named = await served.written(served.text("<|begin|>ab", tokens=1))
        assert named.tokens_in == base
        command = served.text("<|im_end|>ab", tokens=1)
        assert (await served.written(command)).tokens_in == base + 1
        cut = type(command)(served.name(), "<|im_end|>ab", command.params, 1, cuts=[1])
        assert (await served.written(cut)).tokens_in > base + 4

    async def test_a_prompt_that_was_read_before_is_not_read_again(self, served: Served) -> None:
        """By whole blocks; the second one says how many tokens it found."""
        prompt = "The queue is long, and the caller waits for an answer. " * 4
        cold = await served.written(served.text(prompt))
        warm = await served.written(served.text(prompt))
        assert (cold.tokens_cached, warm.tokens_cached) == (0, (cold.tokens_in - 1) // place.BLOCK * place.BLOCK)
        assert cold.prefill_ms > 0
        assert cold.decode_ms > 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [("mirostat", 2), ("typical_p", 0.5), ("xtc_probability", 0.1), ("dry_multiplier", 0.8), ("temperature", 2.5)],
    )
    async def test_wishes_that_it_cannot_do_are_refused(self, served: Served, name: str, value: float) -> None:
        """By name: another text than asked for would be wrong without anybody seeing it."""
        refused = await served.done(served.text(**{name: value}), Refused)
        assert (refused.code, refused.details["param"]) == ("BAD_REQUEST", f"params.{name}")

    async def test_a_forbidden_token_is_not_drawn(self, served: Served) -> None:
        """And one with a bias of 100 always is."""
        end = await served.written(served.text(tokens=4, logprobs=True))
        assert end.logprobs is not None
        token = end.logprobs[0].id
        assert token is not None
        forced = await served.written(
            served.text(tokens=4, temperature=0.0, logprobs=True, logit_bias={str(token): 100})
        )
        other = await served.written(served.text(tokens=4, logprobs=True, logit_bias={str(token): -100}))
        assert {one.id for one in forced.logprobs or ()} == {token}
        assert token not in {one.id for one in other.logprobs or ()}

    async def test_a_stop_token_ends_a_text(self, served: Served) -> None:
        """And is no part of it."""
        whole = await served.written(served.text(tokens=8, temperature=0.0, logprobs=True))
        tokens = [one.id for one in whole.logprobs or ()]
        end = await served.written(served.text(tokens=8, temperature=0.0, stop_token_ids=[tokens[4]]))
        assert (end.finish_reason, end.tokens_out) == ("stop", tokens.index(tokens[4]))
        assert whole.text.startswith(end.text)

    async def test_a_constraint_counts_behind_thoughts(self, served: Served) -> None:
        """Which may say anything, until the mark that ends them; also one whose rules name each other, and `answer`."""
        output = Output(form="marked", think=("<think>", "</think>"), begun="<think>")
        for constraint, form in (*CONSTRAINTS, RECURSIVE):
            command = msgspec.structs.replace(
                served.text("Think: <think>", tokens=400, temperature=2.0, ignore_eos=False),
                constraint=constraint, output=output,
            )  # fmt: skip
            end = await served.written(command)
            assert end.reasoning_content or end.text
            assert end.finish_reason == "length" or re.fullmatch(form, end.text), end

    async def test_a_text_with_a_constraint_is_not_gone_on_with(self, served: Served) -> None:
        """It says so."""
        refused = await served.done(served.text(resume=Resume("ye"), constraint=GRAMMAR), Refused)
        assert "resume" in refused.message

    async def test_adapters_come_and_go_beside_what_runs(self, served: Served) -> None:
        """One that cannot be loaded spoils its own order alone; one in use stays until its sequence has ended."""
        path = str(place.model(place.ADAPTER))
        host = served.host
        before = await served.written(served.text(temperature=0.0))
        command = served.much()
        run = host.submit(command)
        await first(run)
        wrong = await host.change_adapter(LoadAdapter("wrong", path + "-not-there"))
        assert path + "-not-there" in (wrong.problem or "")
        scaled = await host.change_adapter(LoadAdapter("scaled", path, 0.5))
        assert "scale" in (scaled.problem or "")
        assert (await host.change_adapter(LoadAdapter("one", path))).problem is None
        second = await host.change_adapter(LoadAdapter("two", path))
        assert "VLLM_MAX_LORAS=1" in (second.problem or "")
        with_it = await served.written(served.text(temperature=0.0, adapter="one"))
        assert with_it.text != before.text
        assert (await host.change_adapter(UnloadAdapter("one"))).loaded == []
        await served.done(served.text(adapter="one"), Refused)
        host.cancel(command.job_id)
        assert (await served.written(served.text(temperature=0.0))).text == before.text

    async def test_a_large_prompt_keeps_no_one_waiting(self, served: Served) -> None:
        """Megabytes are refused by their beginning."""
        refused = await served.done(served.text("word " * 2_000_000), Refused)
        assert refused.code == "CONTEXT_BUDGET_EXCEEDED"

    async def test_thoughts_and_calls_are_read_by_our_parser(self, served: Served) -> None:
        """Token by token, in a stream as well."""
        output = Output(form="marked", think=("<think>", "</think>"), begun="<think>")
        command = served.text(tokens=12, stream=True)
        run = served.host.submit(
            type(command)(command.job_id, command.prompt, command.params, 1, stream=True, output=output)
        )
        thoughts = ""
        while not isinstance(event := await run.next(), Finished):
            assert isinstance(event, Delta), event
            thoughts += event.reasoning_content
        assert thoughts == event.reasoning_content
        assert event.text == ""


class TestRuntime(Runtime):
    """Of EngineCore."""

    async def test_a_runtime_that_stands_still_is_replaced(self, served: Served) -> None:
        """One that is stopped computes nothing and does not end: it is killed after `stall_s`, and the next serves."""
        (core,) = [one for one in served.processes if "EngineCore" in " ".join(one.cmdline())]
        run = served.host.submit(served.much())
        await first(run)
        core.suspend()
        while not isinstance(await run.next(), EngineDied):
            pass
        assert await left_later([core], 5.0) == []
        await served.until_serving()
        await served.works()
