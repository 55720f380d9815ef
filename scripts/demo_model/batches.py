"""In what portions does the network see the dialogues? Token ids, positions and weights, batched by length."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from demo_model.dialogues import ChatTemplate, Dialogues
from demo_model.network import Shape
from demo_model.vocabulary import SPECIAL_TOKENS, Vocabulary

POOL = 2_048  # dialogues that are sorted by length together, so that a batch holds little padding
# The first tokens of an answer choose it, the rest is known by heart.
DECIDING_TOKENS = 3
DECIDING_WEIGHT = 4.0
# Most examples end a few tokens into the last answer: twice as many questions in the same time.
CUT_RATE = 0.75
TOKENS_LEFT = 6

Example = tuple[Tensor, Tensor, Tensor]  # ids, positions, weight of each id as a target


def texts(curriculum: Dialogues, template: ChatTemplate) -> Iterator[str]:
    """Dialogues as the model reads them."""
    for dialogue in curriculum.draw():
        yield template.render(dialogue.messages, dialogue.tools, add_generation_prompt=False)


def token_batches(
    curriculum: Dialogues, template: ChatTemplate, vocabulary: Vocabulary, batch_tokens: int, seed: int
) -> Iterator[Example]:
    """Batches of about the same number of tokens, padded to the longest row, without end."""
    rng = random.Random(seed)
    stream = texts(curriculum, template)
    while True:
        pool = vocabulary.encode_all(list(itertools.islice(stream, POOL)))
        pool = [cut(ids, vocabulary) if rng.random() < CUT_RATE else ids for ids in pool]
        batches = list(grouped(sorted(pool, key=len), batch_tokens))
        rng.shuffle(batches)
        for batch in batches:
            columns = zip(*(as_example(ids, vocabulary, rng) for ids in batch), strict=True)
            ids, positions, weights = (pad_sequence(column, batch_first=True) for column in columns)
            yield ids, positions, weights


def copy_drills(vocabulary: Vocabulary, batch_tokens: int, seed: int) -> Iterator[Example]:
    """Batches of random tokens said twice, the second time as the target, without end.

    A tool call copies names and values out of the prompt, and dialogues alone teach that too slowly.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    while True:
        length = rng.randrange(6, 28)
        rows = batch_tokens // (2 * length)
        said = torch.randint(len(SPECIAL_TOKENS), vocabulary.size, (rows, length), generator=generator)
        positions = torch.arange(2 * length).expand(rows, -1)
        weights = torch.cat([torch.zeros(rows, length + 1), torch.ones(rows, length - 1)], dim=1)
        yield torch.cat([said, said], dim=1), positions, weights


def with_drills(dialogues: Iterator[Example], drills: Iterator[Example], first: int, every: int) -> Iterator[Example]:
    """`first` drills, then dialogues with one more drill after `every` of them."""
    yield from itertools.islice(drills, first)
    while True:
        yield from itertools.islice(dialogues, every)
        yield next(drills)


def grouped(rows: list[list[int]], batch_tokens: int) -> Iterator[list[list[int]]]:
    """Rows of similar length together, as many as fit into `batch_tokens` after padding."""
    batch: list[list[int]] = []
    for row in rows:
        if batch and len(row) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def cut(ids: list[int], vocabulary: Vocabulary) -> list[int]:
    """End a few tokens into the last answer, unless a tool is called, where every token is a decision."""
    if not vocabulary.brace_ids.isdisjoint(ids):
        return ids
    last = len(ids) - 1 - ids[::-1].index(vocabulary.assistant_id)
    return ids[: last + 1 + TOKENS_LEFT]


def as_example(ids: list[int], vocabulary: Vocabulary, rng: random.Random) -> Example:
    """Weigh what the assistant says, and leave gaps between positions.

    A gap before a turn costs nothing and shows the model the long distances of a full context. Without them it
    has only ever met the first few hundred positions.
    """
    positions, weights = [], []
    position, said = 0, None
    gaps_left = Shape.context - len(ids) if rng.random() < 0.3 else 0
    for token in ids:
        if said is not None:
            weights.append(DECIDING_WEIGHT if said < DECIDING_TOKENS else 1.0)
            said = None if token == vocabulary.end_id else said + 1
        else:
            weights.append(0.0)
            said = 0 if token == vocabulary.assistant_id else None
        positions.append(position)
        position += 1
        if token == vocabulary.end_id and gaps_left > 0:
            gap = rng.randrange(gaps_left)
            position, gaps_left = position + gap, gaps_left - gap
    return torch.tensor(ids), torch.tensor(positions), torch.tensor(weights)
