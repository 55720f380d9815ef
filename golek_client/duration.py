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
    """`seconds` with the unit that suits: `1.523ms`, `850µs`, `2.5s`, `1m30s`.

    What rounding lifts to the next unit is shown in that: 59.99999 is `1m0s`.
    """
    micros = round(seconds * 1e6)
    if micros < 1000:
        return f"{micros}µs"
    millis = max(1.0, float(f"{seconds * 1e3:.4g}"))
    if millis < 1000:
        return f"{millis:g}ms"
    short = float(f"{seconds:.4g}")
    if short < 60:
        return f"{short:g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s"
