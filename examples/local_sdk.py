"""A model in this program: no broker, no worker, nothing to start.

python examples/local_sdk.py                           with golek-tiny, which ships
python examples/local_sdk.py qwen3-4b                  after `golek pull qwen3-4b`
python examples/local_sdk.py --fleet golek-tiny        the same calls, to the fleet at NATS_URL
"""

import asyncio
import sys

from golek_client import Asking, Golek
from golek_worker.local import LocalGolek


async def conversation(golek: Asking, model: str) -> None:
    """What a program asks, whoever answers."""
    reply = await golek.ask(model, "What is a queue?", max_tokens=40, temperature=0)
    print(f"{reply.text}\n({reply.tokens_out} tokens in {reply.ms} ms)")

    async with golek.stream(model, "Tell me a story.", max_tokens=60, seed=1) as stream:
        async for delta in stream:
            print(delta, end="", flush=True)
    print()

    answer = await golek.ask(model, "Is the sky blue?", choice=["yes", "no"], temperature=0)
    print(answer.text)


async def main(*arguments: str) -> None:
    names = [one for one in arguments if not one.startswith("--")] or ["golek-tiny"]
    async with Golek() if "--fleet" in arguments else LocalGolek(names[0]) as golek:
        await conversation(golek, names[0])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
