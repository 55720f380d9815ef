"""Several models answer one question: who does what is shown while it happens, then their one answer.

    python examples/debate.py phi-4 qwen2.5-7b "Is 91 a prime number?"
    python examples/debate.py --mode critique phi-4 qwen2.5-7b "Is 91 a prime number?"

Needs a fleet with these models and a router (`make start WORKER=router`) at NATS_URL.
"""

import argparse
import asyncio
import sys

from golek_client import Golek, InferenceServiceError, StepEvent


def show(step: StepEvent) -> None:
    """One line when a step begins, and one when it ends."""
    what = f"{step.name} {step.round}, {step.model} as {step.duty}"
    print(f"  {what} …" if step.state == "began" else f"  {what}: {step.outcome}, {step.ms:.0f} ms")


async def main(models: list[str], question: str, mode: str) -> None:
    async with Golek() as golek:
        stream = golek.chat(
            "auto", question, stream=True, on_step=show, orchestration_mode=mode, orchestration={"models": models}
        )
        async with stream:
            async for delta in stream:
                print(delta, end="", flush=True)
        print()
        how = stream.reply.orchestration
        assert how is not None
        agreement = "not known" if how.agreement is None else f"{how.agreement:.2f} ({how.method})"
        print(f"{how.mode} of {', '.join(how.models_used)}: {how.rounds} rounds, agreement {agreement}")
        if how.partial:
            print(f"a partial answer: {how.error}")


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("models", nargs="+", metavar="MODEL")
    given.add_argument("question")
    given.add_argument("--mode", default="debate", choices=["critique", "debate", "ensemble", "pipeline"])
    asked = given.parse_args()
    try:
        asyncio.run(main(asked.models, asked.question, asked.mode))
    except InferenceServiceError as error:
        sys.exit(f"error {error.code}: {error.message}")
