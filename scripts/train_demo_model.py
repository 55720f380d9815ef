"""Train a demo model from scratch: golek-tiny, or with --lessons golek-quiz one of the three that answer together.

What it learns is text: data/train/golek-tiny/*.toml, data/train/golek-quiz/*.toml. Change an answer or add wordings
there, run this script, then run scripts/score_demo_model.py. It needs the extra `train` (pip install -e '.[train]')
and about a quarter of an hour on two cores; no GPU, no download. The commands of the models of the quiz are in
data/models/golek-quiz-a/README.md.
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
from demo_model.quiz import Quiz
from demo_model.vocabulary import Vocabulary
from demo_model.wordings import ROOT, load_lessons
from torch import Tensor

MODELS_DIR = ROOT / "data/models"
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

    curriculum = quiz_lessons(options) if options.lessons == "golek-quiz" else tiny_lessons(options)
    template = ChatTemplate(TEMPLATE_FILE.read_text())
    vocabulary = Vocabulary.train(
        itertools.islice(texts(curriculum, template), DIALOGUES_FOR_VOCABULARY), options.vocabulary
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
    calls_tools = options.lessons == "golek-tiny"  # the drills are of use to whom copies words, for a call
    batches = with_drills(dialogues, drills, FIRST_DRILLS, DIALOGUES_PER_DRILL) if calls_tools else dialogues
    train(model, batches, options)
    out = options.out or MODELS_DIR / options.name / "model.gguf"
    write_gguf(out, options.name, model.eval(), vocabulary, template.source)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def tiny_lessons(options: argparse.Namespace) -> Curriculum:
    curriculum = Curriculum(load_lessons(), options.seed)
    wordings = sum(len(wordings) for _, wordings in curriculum.topics.values())
    print(f"wordings: {wordings:,} for {len(curriculum.topics)} topics, none of them held out", flush=True)
    return curriculum


def quiz_lessons(options: argparse.Namespace) -> Quiz:
    quiz = Quiz(options.seed, options.share)
    print(f"facts: {len(quiz.facts)}, and {quiz.left_out} left out", flush=True)
    return quiz


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lessons", choices=("golek-tiny", "golek-quiz"), default="golek-tiny", help="what it learns: data/train/…"
    )
    parser.add_argument(
        "--share", type=float, default=0.75, help="of the facts of the quiz, by the seed (default %(default)s)"
    )
    parser.add_argument("--name", default="golek-tiny", help="of the model and its folder (default %(default)s)")
    parser.add_argument("--steps", type=int, default=1_600, help="optimiser steps (default %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=4_096, help="tokens in a step (default %(default)s)")
    parser.add_argument(
        "--width", type=int, default=192, help="embedding width, a multiple of 32 (default %(default)s)"
    )
    parser.add_argument("--layers", type=int, default=4, help="transformer blocks (default %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=1_024, help="tokens (default %(default)s)")
    parser.add_argument("--feed-forward", type=int, default=512, help="width inside a block (default %(default)s)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, help="highest rate; it falls along a cosine (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same model (default %(default)s)")
    parser.add_argument("--out", type=Path, help="the file to write (default data/models/<name>/model.gguf)")
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
