"""Do our chat templates say what llama.cpp's say?

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 && tar xf llama_cpp_python-0.3.36.tar.gz
    python scripts/compare_templates.py llama_cpp_python-0.3.36/vendor/llama.cpp

Renders several conversations with each template in llama.cpp's `models/templates`, by ours
(`golek_worker/prompt/templates.py`) and by llama.cpp's own engine, which it builds with a C++ compiler (`--build` keeps
the result). Both see the same variables and the same time. Prints one JSON line; a conversation that both refuse counts
as equal. `--list` shows each difference.

Two kinds are known, in which ours is what Jinja does, and with it transformers: `None` is printed, where llama.cpp
prints nothing; and a variable that is not there cannot be filtered, where llama.cpp takes it for empty.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from golek_wire.errors import BadRequestError
from golek_worker.prompt import templates
from golek_worker.prompt.templates import ChatTemplate

NOW = 1_767_225_600
BOS, EOS = "<s>", "</s>"
SOURCES = ("common/jinja/*.cpp", "common/json.cpp", "common/unicode.cpp")
INCLUDES = ("common", "vendor", "ggml/include")
RENDERER = Path(__file__).with_name("llama_jinja.cpp")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its <name>"},
                    "days": {"type": "integer", "description": "How many, 'about'"},
                    "unit": {"type": "string", "enum": ["c", "f"], "description": "Kelvin & others are not known"},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "The time.",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    },
]


def _call(name: str, arguments: str, number: int = 0) -> dict[str, Any]:
    return {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _turn(role: str, content: str = "", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def _result(content: str, name: str = "get_weather", number: int = 0) -> dict[str, Any]:
    return _turn("tool", content, name=name, tool_call_id=f"call0000{number}")


_ASKED = [_turn("user", "How warm is it in Köln?")]
_CALLED = [
    *_ASKED,
    _turn("assistant", tool_calls=[_call("get_weather", '{"city": "Köln", "days": 2, "all": true, "no": null}')]),
]
_ANSWERED = [*_CALLED, _result('{"t": 12}'), _turn("assistant", "12 °C"), _turn("user", "Thanks")]
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = {
    "plain": ([_turn("user", "Hi <b> & 'you' \"there\" ä🌍")], None),
    "whitespace": ([_turn("user", "  Hi\n\n\n")], None),
    "system": ([_turn("system", "Be brief."), _turn("user", "Hi")], None),
    "turns": ([_turn("user", "Hi"), _turn("assistant", "Hello!"), _turn("user", "Bye")], None),
    "system and turns": (
        [_turn("system", "S"), _turn("user", "Hi"), _turn("assistant", " Hello!\n"), _turn("user", "Bye")],
        None,
    ),
    "thoughts": (
        [_turn("user", "Hi"), _turn("assistant", "<think>\nhm\n</think>\n\nHello!"), _turn("user", "Bye")],
        None,
    ),
    "reasoning content": (
        [_turn("user", "Hi"), _turn("assistant", "Hello!", reasoning_content="hm"), _turn("user", "Bye")],
        None,
    ),
    "tools": (_ASKED, TOOLS),
    "system and tools": ([_turn("system", "S"), *_ASKED], TOOLS),
    "a call": ([*_CALLED, _result('{"t": 12, "s": "ä<b>"}')], TOOLS),
    "an answered call": (_ANSWERED, TOOLS),
    "a call with thoughts": (
        [*_ASKED, {**_CALLED[1], "reasoning_content": "I need it."}, _result("12")],
        TOOLS,
    ),
    "two calls": (
        [
            *_ASKED,
            _turn("assistant", tool_calls=[_call("get_weather", '{"city": "Köln"}'), _call("now", "{}", 1)]),
            _result("12"),
            _result("12:00", "now", 1),
        ],
        TOOLS,
    ),
}


class LlamaCpp:
    """llama.cpp's engine in a process of its own."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, source: str, variables: Mapping[str, Any]) -> tuple[str | None, str]:
        """The text, or None and why there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"source": source, "now": NOW, "variables": variables}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return answer.get("text"), answer.get("error", "")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def build(llama: Path, folder: Path) -> Path:
    """The renderer, compiled into `folder` unless it lies there."""
    binary = folder / "llama_jinja"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    sources = [RENDERER, *(source for pattern in SOURCES for source in sorted(llama.glob(pattern)))]
    flags = ["-std=c++17", "-O1", *(f"-I{llama / include}" for include in INCLUDES)]

    def compiled(source: Path) -> Path:
        subprocess.run(["c++", *flags, "-c", "-o", folder / f"{source.stem}.o", source], check=True)
        return folder / f"{source.stem}.o"

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    subprocess.run(["c++", "-o", binary, *objects], check=True)
    return binary


def ours(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
) -> tuple[str | None, str]:
    """The text, or None and why there is none."""
    try:
        return template.render(messages, tools), ""
    except BadRequestError as error:
        return None, error.message


def difference(a: str | None, b: str | None, why_a: str, why_b: str) -> str:
    """Where two answers part, for people."""
    if a is None or b is None:
        return f"  ours       {why_a[:160] or 'renders'}\n  llama.cpp  {why_b.strip()[-160:] or 'renders'}"
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"  ours       {a[max(0, at - 40) : at + 60]!r}\n  llama.cpp  {b[max(0, at - 40) : at + 60]!r}"


def main() -> None:
    """Compare them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama", type=Path, help="llama.cpp's sources, e.g. vendor/llama.cpp of llama-cpp-python")
    parser.add_argument("--build", type=Path, help="folder for the compiled engine; default a temporary one")
    parser.add_argument("--list", action="store_true", help="show each difference")
    given = parser.parse_args()
    files = sorted((given.llama / "models/templates").glob("*.jinja"))
    if not files:
        sys.exit(f"{given.llama}/models/templates: no templates; --help says where they are")
    with tempfile.TemporaryDirectory() as temporary:
        llama = LlamaCpp(build(given.llama, given.build or Path(temporary)))
        summary = compare(files, llama, show=given.list)
        llama.close()
    print(json.dumps(summary))


def compare(files: Sequence[Path], llama: LlamaCpp, *, show: bool) -> dict[str, Any]:
    """How many texts are equal, and how many differ for each template that has any."""
    templates._strftime_now = lambda form: datetime.fromtimestamp(NOW).astimezone().strftime(form)
    equal = total = refused = 0
    different: dict[str, int] = {}
    for file in files:
        source = file.read_text("utf-8")
        template = ChatTemplate(source, BOS, EOS)
        for name, (messages, tools) in CONVERSATIONS.items():
            a, why_a = ours(template, messages, tools)
            b, why_b = llama.render(source, template.variables(messages, tools))
            total += 1
            equal += a == b
            refused += a is None and b is None
            if a != b:
                different[file.stem] = different.get(file.stem, 0) + 1
                if show:
                    print(f"{file.stem}: {name}\n{difference(a, b, why_a, why_b)}")
    return {
        "templates": len(files),
        "conversations": len(CONVERSATIONS),
        "equal": equal,
        "total": total,
        "refused_by_both": refused,
        "different": different,
    }


if __name__ == "__main__":
    main()
