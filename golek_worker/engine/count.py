"""How is a large number told to people?"""


def count_text(count: int) -> str:
    """`count` for people: 268M, 4.0B."""
    for unit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f}{suffix}" if value < 10 else f"{value:.0f}{suffix}"
    return str(count)
