"""How large is a batch of texts that become vectors?

Pure, and without llama.cpp: the estimate of a model's memory asks it too.
"""

TEXTS = 64
"""Texts of one batch."""
BATCH_GPU = 2048
"""Tokens of one batch, unless a single text has more."""
BATCH_CPU_LEAST, BATCH_CPU_MOST = 64, 1024
"""On a CPU: between these, as many as can be computed in STEP_S. More are hardly faster, and hold up commands."""
STEP_S = 0.25
OPERATIONS_PER_S = 50e9
"""What a core does with f32 weights, measured with AVX-512; two operations for each parameter and token."""


def batch_tokens(parameters: int, threads: int) -> int:
    """Tokens of a batch on a CPU."""
    fit = int(STEP_S * OPERATIONS_PER_S * threads / (2 * max(1, parameters)))
    return min(BATCH_CPU_MOST, max(BATCH_CPU_LEAST, fit))
