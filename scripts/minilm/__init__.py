"""all-MiniLM-L6-v2 as GGUF: `safetensors` reads the weights, `gguf_file` writes the file, `convert` joins them."""
