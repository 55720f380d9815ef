"""Which LoRA adapters shall an engine have, and which has it?

The parent's side. What was loaded is loaded again each time the engine is: the book is the one place that knows.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable

from golek_wire.errors import AdapterNotFoundError
from golek_worker.engine.base import AdapterChanged, LoadAdapter, UnloadAdapter

CRASHES = 2
"""An adapter under whose load the engine ended so often is not tried again, unless somebody says so."""


class AdapterBook:
    """The adapters of one engine."""

    def __init__(self, wanted: Iterable[LoadAdapter] = (), on_problem: Callable[[str], None] = lambda _: None) -> None:
        """`on_problem` hears why one of the `wanted` is not there."""
        self._wanted = {command.name: command for command in wanted}
        self._on_problem = on_problem
        self._asked: deque[tuple[LoadAdapter | UnloadAdapter, asyncio.Future[AdapterChanged] | None]] = deque()
        """What the engine has not answered yet, in its order; without a future nobody waits."""
        self._crashes: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self.loaded: list[str] = []
        """What the engine has now, sorted."""

    @property
    def wanted(self) -> dict[str, LoadAdapter]:
        """What it has, or will have once it is loaded."""
        return {name: command for name, command in self._wanted.items() if name not in self._problems}

    @property
    def problems(self) -> dict[str, str]:
        """By name, why those that it should have are not there."""
        return dict(sorted(self._problems.items()))

    @property
    def is_settled(self) -> bool:
        """False while the engine loads those that it should have."""
        return all(answer is not None for _, answer in self._asked)

    def check(self, name: str) -> None:
        """Raise AdapterNotFoundError for an adapter that the engine has not, and will not have."""
        if name in self._wanted and name not in self._problems:
            return
        why = self._problems.get(name)
        raise AdapterNotFoundError(
            not_loaded(name, self.wanted) + (f" ({why})" if why else ""), param="adapter", loaded=sorted(self.wanted)
        )

    def note(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Remember a change while there is no engine: it is made when there is one."""
        problem = None
        if isinstance(command, LoadAdapter):
            self._want(command)
        elif self._wanted.pop(command.name, None) is None:
            problem = not_loaded(command.name, self._wanted)
        self._problems.pop(command.name, None)
        return AdapterChanged(command.name, sorted(self.wanted), problem)

    def ask(self, command: LoadAdapter | UnloadAdapter) -> asyncio.Future[AdapterChanged]:
        """The engine is asked for a change; its answer."""
        answer: asyncio.Future[AdapterChanged] = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer))
        return answer

    def begin(self) -> list[LoadAdapter]:
        """An engine is loaded: what it is to be asked for first."""
        commands = [command for name, command in self._wanted.items() if self._crashes[name] < CRASHES]
        self._asked.extend((command, None) for command in commands)
        return commands

    def changed(self, event: AdapterChanged) -> None:
        """The engine answered."""
        command, answer = self._asked.popleft()
        self.loaded = event.loaded
        if event.problem is None:
            self._problems.pop(command.name, None)
            if isinstance(command, LoadAdapter):
                self._want(command)
            else:
                self._wanted.pop(command.name, None)
        elif answer is None:
            self._give_up(command.name, event.problem)
        if answer is not None and not answer.done():
            answer.set_result(event)

    def lost(self, *, crashed: bool) -> None:
        """The engine is gone; where it `crashed`, what it was doing may be why."""
        self.loaded = []
        asked, self._asked = self._asked, deque()
        for i, (command, answer) in enumerate(asked):
            problem = "the engine ended before it answered; its log may say why"
            if i == 0 and crashed and isinstance(command, LoadAdapter):
                self._crashes[command.name] += 1
                problem = f"{command.path}: the engine ended while it loaded this; its log may say why"
                if self._crashes[command.name] >= CRASHES and command.name in self._wanted:
                    self._give_up(command.name, problem)
            if answer is not None and not answer.done():
                answer.set_result(AdapterChanged(command.name, [], problem))

    def _want(self, command: LoadAdapter) -> None:
        self._wanted[command.name] = command
        self._crashes.pop(command.name, None)

    def _give_up(self, name: str, problem: str) -> None:
        self._problems[name] = problem
        self._on_problem(f"{name}: {problem}")


def not_loaded(name: str, names: Collection[str]) -> str:
    """The sentence about an adapter that is not there, beside those that are."""
    there = f"loaded are {', '.join(sorted(names))}" if names else "none is loaded"
    return f"adapter: no adapter {name!r} is loaded; {there}"
