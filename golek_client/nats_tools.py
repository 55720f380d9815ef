"""What do `nats-chat` and `nats-embed` do?

Two small programs with single-dash options. `golek chat` and `golek embed` do the same and more.
"""

import sys


def nats_chat() -> None:
    """`nats-chat -subject S [-input TEXT | -i] [-max-tokens N] [-temperature T]`."""
    sys.exit("nats-chat: use `golek chat`")


def nats_embed() -> None:
    """`nats-embed [-subject S] -input TEXT [-model M]`."""
    sys.exit("nats-embed: use `golek embed`")
