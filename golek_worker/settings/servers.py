"""Which settings has an engine that is a server of its own?"""

import shlex

from golek_program.settings.fleet import Seconds
from golek_program.settings.values import hidden
from golek_worker.engine.names import SERVERS
from golek_worker.settings.vllm import VLLM


class Servers(VLLM, frozen=True, kw_only=True):
    """With ENGINE=llama-server, ollama, trtllm or openai. Behind vLLM's, since a struct has one base."""

    server_url: str = ""
    """With ENGINE=llama-server, ollama, trtllm or openai: the server that runs already; nothing is started then."""
    server_command: str = ""
    """How such a server is started instead of the usual way; `{host}`, `{port}` and `{model}` are put in."""
    server_args: str = ""
    """Arguments for the server that is started, beside the usual ones."""
    server_model: str = ""
    """What the server calls the model; need not be given where it has one alone."""
    server_key: str = ""
    """Key that the server wants."""
    server_start_s: Seconds = 600.0
    """For so long a server may take from its start until it is well."""
    llama_server: str = ""
    """llama.cpp's server; default `llama-server` of the PATH, else what `make build-llama-server` built."""


def mistakes(settings: Servers, engine: str) -> list[str]:
    """What is wrong with them for this engine; a sentence each."""
    found = []
    url, command, args = settings.server_url, settings.server_command, settings.server_args
    if url and not url.startswith(("http://", "https://")):
        found.append(f"SERVER_URL={hidden(url)}: where the server answers, as http://127.0.0.1:8080")
    for key, value in (("SERVER_COMMAND", command), ("SERVER_ARGS", args)):
        try:
            shlex.split(value)
        except ValueError as error:
            found.append(f"{key}={value}: {error}")
    if (url or command or args) and engine not in SERVERS:
        known = ", ".join(SERVERS)
        found.append(f"ENGINE={engine}: has no server; SERVER_URL, SERVER_COMMAND and SERVER_ARGS are for {known}")
    if engine == "openai" and not (url or command):
        found.append("ENGINE=openai: say where the server is (SERVER_URL), or how it is started (SERVER_COMMAND)")
    return found
