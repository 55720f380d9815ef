"""vLLM, really: its own environment, small models made here. Skipped where it is not installed (`make test-vllm`)."""
