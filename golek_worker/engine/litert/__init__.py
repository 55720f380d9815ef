"""LiteRT (TensorFlow Lite): `.tflite` models that make vectors of texts, or say what images show."""

from typing import Final

TO_INSTALL: Final = "In the project's folder `make setup` installs it, or `.venv/bin/pip install -e '.[litert]'`"
"""What its engines lack, for people."""
