"""What may be shown in a terminal of what others wrote? Everything but what would steer it."""


def plain(text: str) -> str:
    """`text` with a blank for each character that cannot be printed: what workers and callers say is not trusted."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
