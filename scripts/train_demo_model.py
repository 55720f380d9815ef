"""Train golek-tiny from scratch and write data/models/golek-tiny/model.gguf.

What it learns is text: data/train/golek-tiny/*.toml. Change an answer or add wordings there, run this script, then
run scripts/score_demo_model.py. It needs the extra `train` (pip install -e '.[train]') and about a quarter of
an hour on two cores; no GPU, no download.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation uses
from demo_model.batches import Example, copy_drills, texts, token_batches, with_drills
from demo_model.dialogues import TEMPLATE_FILE, ChatTemplate, Curriculum
from demo_model.export import write_gguf
from demo_model.network import Shape, TinyLlama
from demo_model.vocabulary import Vocabulary
from demo_model.wordings import ROOT, load_lessons
from torch import Tensor

MODEL_FILE = ROOT / "data/models/golek-tiny/model.gguf"
VOCABULARY_SIZE = 1_024
DIALOGUES_FOR_VOCABULARY = 20_000
WARMUP_STEPS = 100
FIRST_DRILLS = 300
DIALOGUES_PER_DRILL = 10


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False

    curriculum = Curriculum(load_lessons(), options.seed)
    template = ChatTemplate(TEMPLATE_FILE.read_text())
    wordings = sum(len(wordings) for _, wordings in curriculum.topics.values())
    print(f"wordings: {wordings:,} for {len(curriculum.topics)} topics, none of them held out", flush=True)

    vocabulary = Vocabulary.train(
        itertools.islice(texts(curriculum, template), DIALOGUES_FOR_VOCABULARY), VOCABULARY_SIZE
    )
    shape = Shape(
        vocabulary=vocabulary.size,
        width=options.width,
        layers=options.layers,
        heads=options.width // 32,
        feed_forward=options.feed_forward,
    )
    model = TinyLlama(shape)
    print(f"parameters: {model.parameter_count():,}", flush=True)

    drills = copy_drills(vocabulary, options.batch_tokens // 2, options.seed)
    dialogues = token_batches(curriculum, template, vocabulary, options.batch_tokens, options.seed)
    train(model, with_drills(dialogues, drills, FIRST_DRILLS, DIALOGUES_PER_DRILL), options)
    write_gguf(options.out, model.eval(), vocabulary, template.source)
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_600, help="optimiser steps (default %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=4_096, help="tokens in a step (default %(default)s)")
    parser.add_argument(
        "--width", type=int, default=192, help="embedding width, a multiple of 32 (default %(default)s)"
    )
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks (default %(default)s)")
    parser.add_argument("--feed-forward", type=int, default=512, help="width inside a block (default %(default)s)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, help="highest rate; it falls along a cosine (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same model (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=MODEL_FILE, help="the file to write (default data/models/golek-tiny/model.gguf)"
    )
    return parser.parse_args()


def train(model: TinyLlama, batches: Iterator[Example], options: argparse.Namespace) -> None:
    """AdamW along a warm-up and a cosine."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    started = time.monotonic()
    model.train()
    for step, batch in enumerate(itertools.islice(batches, options.steps), start=1):
        rate = (
            options.learning_rate
            * min(1.0, step / WARMUP_STEPS)
            * (0.505 + 0.495 * math.cos(math.pi * step / options.steps))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = weighted_loss(model, *batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0 or step == options.steps:
            left = (time.monotonic() - started) / step * (options.steps - step)
            print(
                f"step {step}/{options.steps}  loss {loss.item():.4f}  rate {rate:.5f}  {left:.0f} s left", flush=True
            )


def weighted_loss(model: TinyLlama, ids: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the next token, over what the assistant says."""
    wanted = weights[:, 1:] > 0  # score only those places: the vocabulary is the widest layer
    scores = model(ids[:, :-1], positions[:, :-1], wanted)
    each = F.cross_entropy(scores, ids[:, 1:][wanted], reduction="none")
    return (each * weights[:, 1:][wanted]).sum() / weights.sum()


if __name__ == "__main__":
    main()
