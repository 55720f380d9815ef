"""Which engines are there, and in what does a model lie for each?"""

from typing import Final, Literal

EngineName = Literal["llamacpp", "echo", "vllm", "litert", "llama-server", "ollama", "trtllm", "openai"]
Answering = Literal["llamacpp", "echo", "vllm", "litert", "llama-server", "ollama", "trtllm", "openai", "router"]
"""What a deployment answers with: an engine of its own, or, as a router, others."""
Format = Literal["gguf", "folder", "tflite", "none"]
"""`folder` is one of Hugging Face's, with `config.json`; `none` where the engine needs no file of ours."""

FORMATS: Final[dict[str, Format]] = {
    "llamacpp": "gguf",
    "llama-server": "gguf",
    "vllm": "folder",
    "litert": "tflite",
    "echo": "none",
    "ollama": "none",
    "trtllm": "none",
    "openai": "none",
    "router": "none",
}
USUAL_FILES: Final[dict[Format, str]] = {
    "gguf": "model.gguf",
    "tflite": "model.tflite",
    "folder": "config.json",
    "none": "model.gguf",
}
"""What lies in a model's own folder where nothing else is said."""
SERVERS: Final = ("llama-server", "ollama", "trtllm", "openai")
"""Engines that are programs of their own and speak HTTP."""
