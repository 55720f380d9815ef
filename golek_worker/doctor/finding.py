"""How is one thing said that was found out about a machine?"""

from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "could be", "cannot"]
"""It works; it would after what `do` says, or nothing asks for it; it does not, on this machine or as it is."""


class Finding(Struct, frozen=True):
    """One line."""

    about: str
    """What it is about: `llama.cpp`, `memory`, a deployment."""
    verdict: Verdict
    says: str
    do: str = ""
    """What to do next, a command where there is one."""
    is_needed: bool = False
    """Whether a deployment of this machine does not run because of it."""

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.verdict:<8}  {self.about:<18}  {self.says}" + (f" -> {self.do}" if self.do else "")
