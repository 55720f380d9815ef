"""What every engine promises that makes something of whole texts or images: vectors, scores, classes."""

import asyncio
import math

import pytest

from golek_worker.engine.base import Classified, Classify, Embed, Embedded, Rank, Ranked, Refused
from tests.engines.subject import Served, needs

TEXTS = ["a lease", "the queue of a worker", "snow"]
SAME = 1e-3
"""Numbers of one text's vectors, computed beside different neighbours, differ by less."""


@pytest.mark.asyncio(loop_scope="module")
@needs("vectors")
class Vectors:
    """Texts as vectors."""

    async def test_vectors_have_length_one(self, served: Served) -> None:
        """One for each text, as wide as the engine says, with the tokens that were read."""
        end = await served.done(Embed(served.name(), TEXTS), Embedded)
        assert [len(vector) for vector in end.vectors] == [served.ready.info.embedding_size] * len(TEXTS)
        assert [math.hypot(*vector) for vector in end.vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-5)
        assert end.tokens_in >= len(TEXTS)
        assert end.tokens == [] or sum(end.tokens) == end.tokens_in

    async def test_a_text_has_one_vector(self, served: Served) -> None:
        """The same alone and among others, in any order; that of another text is another one."""
        together = (await served.done(Embed(served.name(), TEXTS), Embedded)).vectors
        turned = (await served.done(Embed(served.name(), TEXTS[::-1]), Embedded)).vectors
        for text, vector, other in zip(TEXTS, together, turned[::-1], strict=True):
            (alone,) = (await served.done(Embed(served.name(), [text]), Embedded)).vectors
            assert vector == pytest.approx(alone, abs=SAME)
            assert vector == pytest.approx(other, abs=SAME)
        assert math.dist(together[0], together[2]) > 100 * SAME

    async def test_jobs_side_by_side_get_their_own(self, served: Served) -> None:
        """As many as there are slots."""
        commands = [Embed(served.name(), [TEXTS[n % 3]] * (n + 1)) for n in range(served.ready.slots)]
        ends = await asyncio.gather(*(served.done(command, Embedded) for command in commands))
        assert [(end.job_id, len(end.vectors)) for end in ends] == [(c.job_id, len(c.inputs)) for c in commands]

    async def test_a_text_that_is_too_long_is_refused(self, served: Served) -> None:
        """By its place and with the numbers: nothing is cut off, and the engine lives on."""
        refused = await served.done(Embed(served.name(), ["short", "word " * served.ready.ctx_size * 2]), Refused)
        assert refused.code == "CONTEXT_BUDGET_EXCEEDED", refused
        assert "input[1]" in refused.message
        assert str(refused.details["budget"]) in refused.message
        await served.done(Embed(served.name(), TEXTS), Embedded)

    async def test_no_text_is_refused(self, served: Served) -> None:
        """By the field's name."""
        refused = await served.done(Embed(served.name(), []), Refused)
        assert refused.code == "BAD_REQUEST", refused
        assert "input" in refused.message


@pytest.mark.asyncio(loop_scope="module")
@needs("scores")
class Scores:
    """Documents, ranked by a query."""

    async def test_each_document_has_its_score(self, served: Served) -> None:
        """The same alone and among others, in any order."""
        end = await served.done(Rank(served.name(), "a lease", TEXTS), Ranked)
        turned = await served.done(Rank(served.name(), "a lease", TEXTS[::-1]), Ranked)
        assert end.scores == pytest.approx(turned.scores[::-1], abs=0.02)
        assert len({round(score, 1) for score in end.scores}) > 1
        assert end.tokens_in == turned.tokens_in > 0


@pytest.mark.asyncio(loop_scope="module")
@needs("classes")
class Classes:
    """Images, by what they show."""

    async def test_each_image_has_a_probability_for_each_label(self, served: Served) -> None:
        """They are the same each time and alone as among others."""
        image = served.subject.image
        end = await served.done(Classify(served.name(), [image] * 3), Classified)
        assert served.ready.labels
        assert [len(scores) for scores in end.scores] == [len(served.ready.labels)] * 3
        assert [sum(scores) for scores in end.scores] == pytest.approx([1.0] * 3, abs=1e-3)
        (alone,) = (await served.done(Classify(served.name(), [image]), Classified)).scores
        assert end.scores == [pytest.approx(alone, abs=SAME)] * 3

    async def test_what_is_no_image_is_refused(self, served: Served) -> None:
        """By its place; the engine lives on."""
        refused = await served.done(Classify(served.name(), [served.subject.image, b"no image"]), Refused)
        assert refused.code == "BAD_REQUEST", refused
        assert "images[1]" in refused.message
        await served.done(Classify(served.name(), [served.subject.image]), Classified)
