"""How are a few facts laid out, a name and what is so?"""

from collections.abc import Sequence

from textual.content import Content

from golek_monitor.plain import plain

WIDTH = 13


def facts(pairs: Sequence[tuple[str, str]]) -> Content:
    """A line each; what is empty is left out, a problem stands out."""
    lines = []
    for name, text in pairs:
        if text:
            style = "bold $error" if name == "problem" else ""
            value = Content.styled(plain(text), style) if style else Content(plain(text))
            lines.append(Content.styled(f"{name:<{WIDTH}}", "$muted") + value)
    return Content("\n").join(lines)
