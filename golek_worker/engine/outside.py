"""What is to be known of a server that is an engine: where it is, or how it is started?"""

from msgspec import Struct, field


class ServerConfig(Struct, frozen=True):
    """A server that speaks OpenAI's API on this machine, or another that is ours."""

    url: str = ""
    """Where its API begins, such as `http://127.0.0.1:8080/v1`; empty where it is started here, on a free port."""
    command: list[str] = field(default_factory=list[str])
    """How it is started, and kept running; empty for one that others run."""
    args: list[str] = field(default_factory=list[str])
    """What follows the usual arguments."""
    program: str = ""
    """llama.cpp's server, where it is not found by itself."""
    start_s: float = 600.0
    """For so long a server may take from its start until it is well."""
    model: str = ""
    """As the server calls the model; empty for the only one that it has."""
    key: str = ""
    """For a server that wants one."""
