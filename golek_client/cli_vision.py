"""`golek classify`: what do these images show?"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from golek_wire.errors import InferenceServiceError
    from golek_wire.vision import VisionReply


def classify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model that sees; `golek models` lists kinds.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, or addresses that the fleet's workers may fetch.")
    ],
    *,
    server: Server = DEFAULT_URL,
    labels: Annotated[str | None, typer.Option(metavar="A,B,…", help="What may be said of an image.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What a language model is asked of each.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="N", help="Only the N best scores.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole reply as one line of JSON.")] = False,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the answer.")] = "2m",
) -> None:
    """Say what images show.

    Prints a line for each image: its name, and labels with their scores from 0 to 1, the best one first.

    \b
      golek classify smolvlm-500m cat.png --labels cat,dog
      golek classify smolvlm-500m *.jpg --labels cat,dog --top-k 1
      golek classify smolvlm-500m cat.png                    in the model's own words
      golek classify flowers nats-object://GOLEK_IMAGES/rose.png --json | jq '.results[].label'

    A classifier has labels of its own, and --labels chooses among them.
    """
    from golek_client import seeing, terminal_wait
    from golek_client.client import Golek
    from golek_wire.errors import InferenceServiceError

    seconds = terminal.seconds(deadline, "--deadline")
    sources = [source(image) for image in images]
    named = [label.strip() for label in labels.split(",")] if labels is not None else None

    async def read() -> "VisionReply":
        async with Golek(server) as golek, terminal_wait.notice(golek, model):
            try:
                return await golek.classify(model, sources, deadline=seconds, labels=named, prompt=prompt, top_k=top_k)
            except InferenceServiceError as error:
                error.message = _by_name(error, images)
                raise

    reply = terminal.run(read(), "--deadline")
    if json:
        print(seeing.as_json(reply))
        return
    for image, result in zip(images, reply.results, strict=True):
        print(f"{image}: " + ", ".join(f"{one.label} {one.score:.3f}" for one in result.scores))


def _by_name(error: "InferenceServiceError", images: list[str]) -> str:
    """What an error says, with the image's name before it where it is about one."""
    field = re.fullmatch(r"images\[(\d+)\]", str(error.details.get("param")))
    name = images[int(field[1])] if field and int(field[1]) < len(images) else ""
    return f"{name}: {error.message}" if name else error.message


def source(said: str) -> Path | str:
    """A file, or an address. Ends the command for a file that cannot be read."""
    from golek_wire.images import SCHEMES, STORED

    if said.startswith(SCHEMES):
        return said
    if "://" in said:
        terminal.fail(f"{said}: images are fetched from https://, http:// and {STORED}<bucket>/<name>; others by file")
    file = Path(said)
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        terminal.fail(f"{said}: {error.strerror}")
