"""Do our replies look like llama-server's?

60 OpenAI requests (bench/shapes.jsonl: a line each, path and body as clients send them) are asked of llama-server and
of our gateway over one GGUF file, and the two replies' shapes are compared: status, keys, types of values, finish
reasons, the order of a stream's events. Values that differ are no difference. What differs and why is listed in
docs/llama-server.md, `| request | where | ours | theirs | why |`; a difference that is not listed there is printed, and
counted as `unlisted`.

The file is golek-tiny with a chat template of Qwen 2.5's (llama-server cannot read golek-tiny's own where tools are
offered); embeddings are asked of MiniLM.

Needs a llama-server: GOLEK_BENCH_LLAMA_SERVER, or one is built, as `engine.py` says.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import peers
from support import ROOT, WorkerProcess, broker, ended, figure, note

from tests.support import minilm
from tests.support.fronts import GatewayProcess
from tests.support.ports import free_port

BENCH = "shapes"
REQUESTS = ROOT / "bench" / "shapes.jsonl"
LISTED = ROOT / "docs" / "llama-server.md"
TINY = ROOT / "data/models/golek-tiny/model.gguf"
TEMPLATE = "models/templates/Qwen-Qwen2.5-7B-Instruct.jinja"
NAME: Final = "golek-tiny"
ROW = re.compile(r"^\| `(\S+)` \| `(\S+)` \| (.*?) \| (.*?) \| (.+) \|$", re.MULTILINE)


def shape(value: Any) -> Any:
    """What kind of value: objects by key, lists by the shapes of what is in them, in order of appearance."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        found: list[Any] = []
        for one in map(shape, value):
            if one not in found:
                found.append(one)
        return found
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "string"


class Reply:
    """An answer of either side."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        self.status = status
        self.kind = kind.partition(";")[0]
        self.events: list[Any] = []
        self.value: Any = None
        if self.kind == "text/event-stream":
            said = [event[5:].strip() for event in body.decode().split("\n\n") if event.startswith("data:")]
            self.events = ["[DONE]" if one == "[DONE]" else json.loads(one) for one in said]
        else:
            self.value = json.loads(body)

    @property
    def seen(self) -> dict[str, Any]:
        """All that is compared, by where it stands."""
        found: dict[str, Any] = {"status": str(self.status), "type": self.kind}
        if self.kind != "text/event-stream":
            found |= flat("", shape(self.value))
            return found | {"finish": str(_finishes([self.value]))}
        found["order"] = " ".join(name for name, _ in groupby(map(_step, self.events)))
        for event in self.events:
            if event != "[DONE]":
                for where, what in flat("", shape(event)).items():
                    known = found.setdefault(f"event{where}", [])
                    if what not in known:
                        known.append(what)
        for where, what in found.items():
            if isinstance(what, list):
                found[where] = "|".join(sorted(what))
        return found | {"finish": str(_finishes([event for event in self.events if event != "[DONE]"]))}


def flat(where: str, found: Any) -> dict[str, str]:
    """A shape as places and what stands there."""
    if isinstance(found, dict):
        rows = {where or ".": "object"} if not found else {}
        for key, value in found.items():
            rows |= flat(f"{where}.{key}", value)
        return rows
    if isinstance(found, list):
        rows = {} if found else {where: "[]"}
        for value in found:
            for key, what in flat(f"{where}[]", value).items():
                rows[key] = "|".join(sorted({*rows.get(key, what).split("|"), what}))
        return rows
    return {where or ".": str(found)}


def _step(event: Any) -> str:
    """What an event of a stream is for."""
    if event == "[DONE]":
        return "done"
    if "error" in event:
        return "error"
    if not event.get("choices"):
        return "usage"
    choice = event["choices"][0]
    if choice.get("finish_reason"):
        return "finish"
    delta = choice.get("delta")
    if delta is None:
        return "text"
    if delta.get("tool_calls"):
        return "call"
    if delta.get("reasoning_content"):
        return "thoughts"
    return "text" if delta.get("content") else "role"


def _finishes(values: list[Any]) -> list[str]:
    """Finish reasons in order."""
    choices = [choice for value in values if isinstance(value, dict) for choice in value.get("choices") or []]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def ask(port: int, path: str, body: dict[str, Any]) -> Reply:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return Reply(answer.status, answer.headers["content-type"], answer.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers["content-type"], error.read())


def listed() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """The differences that the docs give a reason for: which requests, and where. `*` stands for anything."""
    rows = ROW.findall(LISTED.read_text("utf-8")) if LISTED.exists() else []
    return [tuple(re.compile(re.escape(cell).replace(r"\*", ".*")) for cell in row[:2]) for row in rows]  # type: ignore[misc]


def differences(ours: Reply, theirs: Reply) -> list[tuple[str, str, str]]:
    """Where the two differ: the place, what stands there here and there."""
    mine, other = ours.seen, theirs.seen
    places = dict.fromkeys([*other, *mine])
    return [(at, mine.get(at, "-"), other.get(at, "-")) for at in places if mine.get(at) != other.get(at)]


def main() -> None:
    requests = [json.loads(line) for line in REQUESTS.read_text("utf-8").splitlines()]
    reasons = listed()
    found: list[tuple[str, str, str, str]] = []
    with ExitStack() as stack:
        url = stack.enter_context(broker())
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="golek-bench-")))
        model, embedder = _with_template(data), minilm.model_file()
        stack.enter_context(WorkerProcess(url, data, NAME, MODEL_PATH=model, MODEL_THREADS=1, CTX_SIZE=2048))
        given = {"MODEL_NAME": "embedder", "MODEL_PATH": embedder, "MODEL_THREADS": 1}
        stack.enter_context(WorkerProcess(url, data / "embedder", NAME, **given))
        gateway = stack.enter_context(GatewayProcess(url, data))
        theirs = {
            "chat": llama_server(stack, data, model, "--jinja", "--ctx-size", "8192", "--parallel", "4"),
            "embeddings": llama_server(stack, data, embedder, "--embeddings", "--pooling", "mean"),
        }
        for request in requests:
            kind = "embeddings" if "embeddings" in request["path"] else "chat"
            mine = ask(gateway.port, request["path"], request["body"])
            other = ask(theirs[kind], request["path"], request["body"])
            for where, here, there in differences(mine, other):
                found.append((request["name"], where, here, there))
    unlisted = [row for row in found if not any(a.fullmatch(row[0]) and b.fullmatch(row[1]) for a, b in reasons)]
    for row in unlisted:
        note(" | ".join(row))
    figure(BENCH, "requests", len(requests), None, "requests", 1)
    same = len(requests) - len({row[0] for row in found})
    figure(BENCH, "same_shape", same, None, "requests", 1)
    figure(BENCH, "differences", len(found), None, "places", 1)
    figure(BENCH, "unlisted", len(unlisted), None, "places", 1)
    if "--all" in sys.argv:
        for row in found:
            note(" | ".join(row))


def _with_template(folder: Path) -> Path:
    """golek-tiny with another chat template."""
    made = folder / "model.gguf"
    template = (peers.sources() / TEMPLATE).read_text("utf-8")
    command = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force", "--chat-template", template]
    subprocess.run([*command, str(TINY), str(made)], check=True, capture_output=True)
    return made


def llama_server(stack: ExitStack, data: Path, model: Path, *options: str) -> int:
    """A llama-server with `model`, ready; its port."""
    port = free_port()
    command = [
        str(peers.server_file()),
        "-m",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "-t",
        "1",
        *options,
    ]
    log = stack.enter_context((data / f"llama-server-{port}.log").open("wb"))
    stack.enter_context(ended(subprocess.Popen(command, stdout=log, stderr=log)))
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return port


if __name__ == "__main__":
    main()
