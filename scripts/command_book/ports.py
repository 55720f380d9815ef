"""Which ports do the lines use? Those that are printed, and free ones for those that are taken here.

Where one is taken, lines, env files and examples are rewritten alike; what stands behind a colon is a port.
"""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

BROKER = 4222
"""Where lines without `--server` look for the broker."""
DEFAULTS = {BROKER: ("NATS_URL", "nats://127.0.0.1:{}"), 5780: ("MONITOR_ADDR", "127.0.0.1:{}"),
            8080: ("MONITOR_DASHBOARD_ADDR", "127.0.0.1:{}")}  # fmt: skip
"""Ports that no file names, and the settings that do."""


class Ports:
    """Printed ports, and the ones in their place."""

    def __init__(self, instead: dict[int, int]) -> None:
        self.instead = instead

    @classmethod
    def free(cls, printed: tuple[int, ...]) -> "Ports":
        """Free ones instead of those of `printed` that somebody listens on."""
        with ExitStack() as held:
            return cls({port: _free(held) for port in printed if _is_taken(port)})

    def used(self, port: int) -> int:
        """The port in the place of the printed `port`."""
        return self.instead.get(port, port)

    def rewrite(self, text: str) -> str:
        """`text` with the ports that are used."""
        return re.sub(r"(?<=:)\d+\b", lambda found: str(self.used(int(found[0]))), text)

    def environment(self) -> dict[str, str]:
        """What a line needs to find broker and monitor where they are."""
        return {key: form.format(self.used(port)) for port, (key, form) in DEFAULTS.items() if port in self.instead}

    def place(self, file: Path, target: Path) -> None:
        """Have `target` say what `file` does: a link to it, or the same with other ports."""
        text = file.read_text("utf-8")
        if (rewritten := self.rewrite(text)) == text:
            target.symlink_to(file)
            return
        target.write_text(rewritten, "utf-8")
        target.chmod(file.stat().st_mode)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free(held: ExitStack) -> int:
    """A port nobody listens on; it is held until all are found, so that no two are the same."""
    probe = held.enter_context(socket.socket())
    probe.bind(("127.0.0.1", 0))
    found: int = probe.getsockname()[1]
    return found
