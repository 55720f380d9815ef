"""Every step of every mode, and what a request comes to where that step fails for good.

The table of docs/orchestration.md ("When a step fails") as values. `v` is the model whose step fails; `a` and `b` are
well. What each step says otherwise is a script (played_worker.py).
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct, structs

from golek_wire.orchestration import Mode
from tests.support import played_worker

VICTIM: Final = "v"
End = Literal["whole", "partial", "error"]
_OBJECTS: Final = json.dumps({"issues": ["It does not say how long a lease is."], "score": 0.25})
_DIFFERS: Final = json.dumps({"agreed": ["A lease ends."], "conflicts": ["Who is asked next."], "flagged": []})


def says(model: str, step: str) -> str:
    """What a model says in a step whose text may become the answer: longer than answers that are counted."""
    return f"{model} in {step}: a lease that is not renewed goes to another replica, which answers in its place then."


def _usual() -> dict[str, Any]:
    """What all say where nothing fails."""
    names = ["answer/1", "generate/1", "revise/1", "revise/2", "rebut/2", "reconcile/1", "reconcile/2", "synthesize/1"]
    names += ["draft/1", "refine/1", "validate/1"]
    acts: dict[str, Any] = {f"{model} {name}": says(model, name) for model in "abv" for name in names}
    return acts | {
        "* critique/1": _OBJECTS, "* critique/2": _OBJECTS, "* compare/1": _DIFFERS, "* compare/2": _DIFFERS
    }  # fmt: skip


class Row(Struct, frozen=True):
    """One step of one mode."""

    name: str
    mode: Mode
    models: tuple[str, ...]
    duties: dict[str, str]
    step: str
    """The step of `v` that fails, as `<name>/<round>`."""
    ends: End
    """How the request ends then."""
    text: str = ""
    """Its answer."""
    well: str = ""
    """Its answer where nothing fails."""
    rounds: int = 1
    counts: int = 1
    """How many steps at once are the one that fails."""
    gone: End = "whole"
    """How it ends where `v` fails from then on, too."""
    gone_text: str = ""

    @property
    def model(self) -> str:
        """The name that is asked."""
        return "solo" if self.mode == "single" else "auto"

    def req_id(self, way: str, *, streamed: bool) -> str:
        """Of its request in one of a test's ways."""
        return f"{way} {self.name} {'streamed' if streamed else 'whole'}".replace(" ", "-")

    def wish(self) -> dict[str, Any]:
        """The fields of the request, beside its text."""
        if self.mode == "single":
            return {}
        wish: dict[str, Any] = {"models": [*self.models], "duties": self.duties}
        if self.mode in ("critique", "debate"):
            wish["max_rounds"] = self.rounds
        if self.mode in ("critique", "debate", "ensemble"):
            wish["threshold"] = 0.9
        return {"orchestration_mode": self.mode, "orchestration": wish}

    def prompt(self, act: Any = None, others: Mapping[str, Any] | None = None) -> str:
        """The request's text: `v` does `act` in the step, `others` say what is done in other ones."""
        acts = _usual() | dict(others or {})
        if act is not None:
            acts[f"{VICTIM} {self.step}"] = act
        return f"What becomes of a lease? {played_worker.script(acts)}"

    @property
    def victims_own(self) -> str:
        """What `v` would have said in the step."""
        return str(_usual().get(f"{VICTIM} {self.step}") or _usual()[f"* {self.step}"])

    @property
    def when_gone(self) -> "Row":
        """The same row where `v` never comes back."""
        return structs.replace(self, ends=self.gone, text=self.gone_text)


def _row(name: str, mode: Mode, models: str, step: str, ends: End, text: str, well: str, **more: Any) -> Row:
    more.setdefault("gone", ends)
    more.setdefault("gone_text", text)
    return Row(name, mode, tuple(models.split()), more.pop("duties", {}), step, ends, text, well, **more)


_ALL: Final = "a b v"
_A: Final = {"reconciler": "a"}
_V: Final = {"reconciler": "v"}
_STAGES: Final = {"draft": "a", "refine": "a", "validate": "a"}
FIRST: Final = ("answer/1", "generate/1", "draft/1")
"""The steps that a flow begins with."""
ROWS: Final[tuple[Row, ...]] = (
    _row("single answer", "single", "v", "answer/1", "error", "", says("v", "answer/1")),
    _row("critique generate", "critique", "v a", "generate/1", "error", "", says("v", "revise/1"),
         duties={"generator": "v", "critic": "a"}),
    _row("critique critique", "critique", "a v", "critique/1", "partial", says("a", "generate/1"),
         says("a", "revise/1"), duties={"generator": "a", "critic": "v"}),
    _row("critique critique of the second round", "critique", "a v", "critique/2", "partial", says("a", "revise/1"),
         says("a", "revise/2"), duties={"generator": "a", "critic": "v"}, rounds=2),
    _row("critique revise", "critique", "v a", "revise/1", "partial", says("v", "generate/1"), says("v", "revise/1"),
         duties={"generator": "v", "critic": "a"}),
    _row("critique last revise", "critique", "v a", "revise/2", "partial", says("v", "revise/1"),
         says("v", "revise/2"), duties={"generator": "v", "critic": "a"}, rounds=2),
    _row("debate an answer", "debate", _ALL, "answer/1", "whole", says("a", "reconcile/1"), says("a", "reconcile/1"),
         duties=_A),
    _row("debate all answers", "debate", "v v v", "answer/1", "error", "", says("v", "reconcile/1"), counts=3),
    _row("debate a rebuttal", "debate", _ALL, "rebut/2", "whole", says("a", "reconcile/2"), says("a", "reconcile/2"),
         duties=_A, rounds=2),
    _row("debate all rebuttals", "debate", "v v", "rebut/2", "whole", says("v", "reconcile/2"),
         says("v", "reconcile/2"), rounds=2, counts=2, gone="partial", gone_text=says("v", "answer/1")),
    _row("debate compare", "debate", _ALL, "compare/1", "whole", says("v", "reconcile/1"), says("v", "reconcile/1"),
         duties=_V, gone="partial", gone_text=says("v", "answer/1")),
    _row("debate reconcile", "debate", _ALL, "reconcile/1", "partial", says("v", "answer/1"),
         says("v", "reconcile/1"), duties=_V),
    _row("ensemble an answer", "ensemble", _ALL, "answer/1", "whole", says("a", "synthesize/1"),
         says("a", "synthesize/1"), duties={"synthesizer": "a"}),
    _row("ensemble all answers", "ensemble", "v v v", "answer/1", "error", "", says("v", "synthesize/1"), counts=3),
    _row("ensemble compare", "ensemble", _ALL, "compare/1", "whole", says("v", "synthesize/1"),
         says("v", "synthesize/1"), duties={"synthesizer": "v"}, gone="partial", gone_text=says("v", "answer/1")),
    _row("ensemble synthesize", "ensemble", _ALL, "synthesize/1", "partial", says("v", "answer/1"),
         says("v", "synthesize/1"), duties={"synthesizer": "v"}),
    _row("pipeline draft", "pipeline", _ALL, "draft/1", "error", "", says("a", "validate/1"),
         duties=_STAGES | {"draft": "v"}),
    _row("pipeline refine", "pipeline", _ALL, "refine/1", "partial", says("a", "draft/1"), says("a", "validate/1"),
         duties=_STAGES | {"refine": "v"}),
    _row("pipeline validate", "pipeline", _ALL, "validate/1", "partial", says("a", "refine/1"), says("v", "validate/1"),
         duties=_STAGES | {"validate": "v"}),
)  # fmt: skip
