"""Which colours has the terminal, by day and by night?"""

from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="dark", dark=True, primary="#5fafd7", secondary="#87afaf", accent="#d7af5f", foreground="#d0d0d0",
    background="#121417", surface="#1a1d21", panel="#24282e", success="#5faf5f", warning="#d7af5f", error="#e0605f",
    variables={"muted": "#878d94", "cursor": "#1f3b52", "track": "#3a4148"},
)  # fmt: skip
LIGHT: Final = Theme(
    name="light", dark=False, primary="#005f87", secondary="#3a6073", accent="#875f00", foreground="#202428",
    background="#fafafa", surface="#f0f1f2", panel="#e2e5e8", success="#1f7a33", warning="#8a5a00", error="#b3261e",
    variables={"muted": "#666c72", "cursor": "#cfe3f1", "track": "#c4cad0"},
)  # fmt: skip
