"""What every engine that writes texts promises."""

import re

import pytest

from golek_wire.requests import Resume
from golek_worker.engine.base import Constraint, Finished, Refused, Stopped
from tests.engines.subject import Served, first, needs, rest

TOKENS = 24


@pytest.mark.asyncio(loop_scope="module")
@needs("text")
class Writing:
    """Texts, alone and side by side."""

    async def test_a_text_has_as_many_tokens_as_asked_for(self, served: Served) -> None:
        """It says how many it read and wrote, and that it ended at the limit."""
        end = await served.written(served.text(tokens=5))
        assert (end.finish_reason, end.tokens_out, end.stopped_by) == ("length", 5, None)
        assert end.text
        assert 0 < end.tokens_in < served.ready.ctx_size

    async def test_nothing_is_written_where_nothing_is_wanted(self, served: Served) -> None:
        """`max_tokens` 0 is a number like others."""
        end = await served.written(served.text(tokens=0))
        assert (end.text, end.finish_reason, end.tokens_out) == ("", "length", 0)

    async def test_a_stream_is_the_whole_text(self, served: Served) -> None:
        """It comes in several pieces; joined they are the text, which is the same without a stream."""
        texts, end = await served.streamed(served.text(tokens=TOKENS, stream=True), Finished)
        assert len(texts) > 1
        assert "" not in texts
        assert "".join(texts) == end.text
        unstreamed, whole = await served.streamed(served.text(tokens=TOKENS), Finished)
        assert unstreamed == []
        assert (whole.text, whole.tokens_in, whole.tokens_out) == (end.text, end.tokens_in, end.tokens_out)

    async def test_equal_seeds_write_equal_texts(self, served: Served) -> None:
        """One after the other, and drawn by chance."""
        one, two = [await served.written(served.text(tokens=TOKENS, seed=7, temperature=1.0)) for _ in range(2)]
        assert one.text == two.text

    @needs("seeds")
    async def test_another_seed_draws_another_text(self, served: Served) -> None:
        """Else there would be no chance in it."""
        texts = {(await served.written(served.text(tokens=TOKENS, seed=n, temperature=1.0))).text for n in range(3)}
        assert len(texts) > 1

    @needs("invariant")
    async def test_a_text_is_the_same_among_others(self, served: Served) -> None:
        """Four with one seed, each with its own, computed together."""
        alone = [await served.written(served.text(tokens=TOKENS, seed=n, temperature=1.0)) for n in range(4)]
        runs = [served.host.submit(served.text(tokens=TOKENS, seed=n, temperature=1.0)) for n in range(4)]
        assert [(await rest(run, Finished))[1].text for run in runs] == [end.text for end in alone]

    async def test_a_stop_string_ends_a_text_and_is_no_part_of_it(self, served: Served) -> None:
        """Wherever it begins; a stream shows nothing of it either."""
        whole = (await served.written(served.text(tokens=TOKENS, temperature=0.0))).text
        middle = len(whole) // 2
        stop = whole[middle : middle + 4]
        command = served.text(tokens=TOKENS, temperature=0.0, stream=True, stop=["never written, this", stop])
        texts, end = await served.streamed(command, Finished)
        assert (end.text, end.finish_reason, end.stopped_by) == (whole[: whole.index(stop)], "stop", stop)
        assert "".join(texts) == end.text

    async def test_a_cancelled_sequence_ends_and_its_slot_is_free(self, served: Served) -> None:
        """It tells what it wrote until then, and nothing comes after its end; who waited has the slot."""
        runs = [
            (command, served.host.submit(command)) for command in [served.much() for _ in range(served.ready.slots)]
        ]
        for _, run in runs:
            await first(run)
        waiting = served.host.submit(served.text())
        command, run = runs.pop()
        served.host.cancel(command.job_id)
        _, stopped = await rest(run, Stopped)
        assert stopped.tokens_out > 0
        await rest(waiting, Finished)
        for command, run in runs:
            served.host.cancel(command.job_id)
            await rest(run, Stopped)
        await served.written(served.text())
        assert await run.next(until=0.0) is None

    async def test_a_sequence_is_cancelled_before_it_has_a_slot(self, served: Served) -> None:
        """One that just came, one that waits, and one that is not there at all."""
        served.host.cancel("never heard of")
        commands = [served.much() for _ in range(served.ready.slots + 1)]
        runs = [served.host.submit(command) for command in commands]
        for command, run in reversed(list(zip(commands, runs, strict=True))):
            served.host.cancel(command.job_id)
            await rest(run, Stopped)
        await served.written(served.text())

    async def test_more_sequences_than_slots_all_end(self, served: Served) -> None:
        """Three times as many, each with its own text."""
        commands = [served.text(f"{n} {served.subject.prompt}") for n in range(3 * served.ready.slots)]
        runs = [served.host.submit(command) for command in commands]
        ends = [(await rest(run, Finished))[1] for run in runs]
        assert [end.job_id for end in ends] == [command.job_id for command in commands]
        assert {end.tokens_out for end in ends} == {8}

    @needs("fifo")
    async def test_who_waits_is_taken_first_come_first_served(self, served: Served) -> None:
        """Behind sequences that hold all slots but one."""
        busy = [served.much() for _ in range(served.ready.slots)]
        runs = [served.host.submit(command) for command in busy]
        for run in runs:
            await first(run)
        order: list[str] = []
        waiting = [served.text(tokens=2) for _ in range(4)]
        ends = [served.host.submit(command) for command in waiting]
        for run in ends:
            run.redirect(lambda event: order.append(event.job_id) if isinstance(event, Finished) else None)
        served.host.cancel(busy[0].job_id)
        last = served.text(tokens=2)
        await served.written(last)
        assert order == [command.job_id for command in waiting]
        for command, run in zip(busy, runs, strict=True):
            served.host.cancel(command.job_id)
            await rest(run, Stopped)

    async def test_a_prompt_beyond_the_context_is_refused_with_numbers(self, served: Served) -> None:
        """And so is one that leaves too little room; the engine lives on."""
        child = served.child
        size = served.ready.ctx_size
        long = await served.done(served.text("word " * (size + 1)), Refused)
        wide = await served.done(served.text(tokens=size), Refused)
        for refused in (long, wide):
            assert refused.code == "CONTEXT_BUDGET_EXCEEDED", refused
            assert refused.details["budget"] == size
            assert refused.details["current_tokens"] > size
            assert str(size) in refused.message
        assert (await served.written(served.text())).tokens_out == 8
        assert served.child == child

    async def test_an_adapter_that_is_not_loaded_is_refused(self, served: Served) -> None:
        """By its name; the engine lives on."""
        refused = await served.done(served.text(adapter="nobody"), Refused)
        assert refused.code == "ADAPTER_NOT_FOUND", refused
        assert "nobody" in refused.message
        await served.written(served.text())

    async def test_what_cannot_be_followed_is_refused(self, served: Served) -> None:
        """A constraint that is none, or that this engine cannot follow, by the field that it comes from."""
        wrong = served.subject.wrong_constraint or Constraint("gbnf", "root ::= nothing", "params.grammar")
        refused = await served.done(served.text(constraint=wrong), Refused)
        assert refused.code in ("BAD_REQUEST", "INVALID_GRAMMAR"), refused
        assert refused.details["param"] == wrong.param
        await served.written(served.text())

    @needs("constraints")
    async def test_an_answer_follows_its_constraint(self, served: Served) -> None:
        """Each language that this engine knows, and several at once."""
        for constraint, pattern in served.subject.constraints:
            runs = [
                served.host.submit(served.text(tokens=64, seed=n, constraint=constraint, temperature=1.0))
                for n in range(2)
            ]
            for run in runs:
                _, end = await rest(run, Finished)
                assert (end.finish_reason, bool(re.fullmatch(pattern, end.text))) == ("stop", True), end

    @needs("logprobs")
    async def test_log_probabilities_are_those_of_the_tokens(self, served: Served) -> None:
        """One for each token written, with the likeliest at its place."""
        end = await served.written(served.text(tokens=6, temperature=0.0, logprobs=True, top_logprobs=2))
        assert end.logprobs is not None
        assert len(end.logprobs) == end.tokens_out == 6
        assert b"".join(bytes(told.bytes) for told in end.logprobs).decode() == end.text
        for told in end.logprobs:
            assert told.logprob <= 0
            assert len(told.top_logprobs) == 2
            assert told.logprob == pytest.approx(told.top_logprobs[0].logprob, abs=1e-3)
        assert end.logprob_sum == pytest.approx(sum(told.logprob for told in end.logprobs), abs=1e-2)

    @needs("logprobs", "constraints")
    async def test_log_probabilities_are_the_models_own(self, served: Served) -> None:
        """What a constraint forces is as unlikely as the model finds it: no token has all there is."""
        constraint, _ = served.subject.constraints[0]
        end = await served.written(served.text(tokens=64, constraint=constraint, logprobs=True, top_logprobs=2))
        assert end.logprobs is not None
        assert end.logprob_sum < -1.0
        assert max(one.logprob for one in end.logprobs[0].top_logprobs) < -0.01

    @needs("resume")
    async def test_a_text_goes_on_where_it_broke_off(self, served: Served) -> None:
        """Only what follows is streamed, and the end has the whole; the limit counts what was written before."""
        texts, whole = await served.streamed(served.text(tokens=TOKENS, temperature=0.0, stream=True), Finished)
        known = "".join(texts[: len(texts) // 2])
        command = served.text(tokens=TOKENS, temperature=0.0, stream=True, resume=Resume(known))
        texts, end = await served.streamed(command, Finished)
        assert known + "".join(texts) == end.text
        assert (end.finish_reason, end.tokens_out) == ("length", whole.tokens_out)
