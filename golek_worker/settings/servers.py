"""What is wrong with the settings of an engine that is a server of its own?"""

import shlex

from golek_program.settings.values import hidden
from golek_worker.engine.names import SERVERS


def mistakes(engine: str, url: str, command: str, args: str) -> list[str]:
    """A sentence each, with the key."""
    found = []
    if url and not url.startswith(("http://", "https://")):
        found.append(f"SERVER_URL={hidden(url)}: where the server answers, as http://127.0.0.1:8080")
    for key, value in (("SERVER_COMMAND", command), ("SERVER_ARGS", args)):
        try:
            shlex.split(value)
        except ValueError as error:
            found.append(f"{key}={value}: {error}")
    if (url or command or args) and engine not in SERVERS:
        found.append(f"ENGINE={engine}: has no server; SERVER_URL, SERVER_COMMAND and SERVER_ARGS are for {_all()}")
    if engine == "openai" and not (url or command):
        found.append("ENGINE=openai: say where the server is (SERVER_URL), or how it is started (SERVER_COMMAND)")
    return found


def _all() -> str:
    return ", ".join(SERVERS)
