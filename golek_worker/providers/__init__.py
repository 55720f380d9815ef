"""How is a cloud asked? One file per dialect."""
