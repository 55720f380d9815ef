"""vLLM: its AsyncLLM in the engine's child, its EngineCore a grandchild."""
