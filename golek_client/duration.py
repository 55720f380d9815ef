"""How are durations written on the command line?

As the `nats` CLI, and Go, write them: `30s`, `500ms`, `1m30s`, `1.5h`.
"""

import re
from typing import Final

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse(text: str) -> float:
    """The seconds that `text` says. Raises ValueError with examples."""
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write 30s, 500ms, 2m or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def show(seconds: float) -> str:
    """`seconds` with the unit that suits: `1.52ms`, `850µs`, `2.5s`, `1m30s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 1.0:
        return f"{seconds * 1e3:.4g}ms"
    if seconds < 60.0:
        return f"{seconds:.4g}s"
    return f"{seconds // 60:.0f}m{seconds % 60:.0f}s"
