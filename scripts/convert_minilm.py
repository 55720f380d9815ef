"""Make a GGUF of all-MiniLM-L6-v2 from its installed package: `python scripts/convert_minilm.py [--weights f16]`.

Numpy alone, a second, the same bytes every time.
"""

import argparse
from pathlib import Path

from minilm.convert import FILE_TYPES, convert, source

OUTPUT = Path("data/models/all-minilm-l6-v2/model.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default {OUTPUT}")
    parser.add_argument("--weights", choices=FILE_TYPES, default="f32", help="default f32")
    options = parser.parse_args()
    convert(source(), options.output, options.weights)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
