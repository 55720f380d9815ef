"""GGUF models through llama.cpp: `model` is the file, `context` its memory, `sampling` the draw, `engine` the rest."""
