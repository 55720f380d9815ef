"""Can llama.cpp follow these rules, and in bounded time?

Where an answer may go on, llama.cpp expands the leftmost rule of each place until characters stand there. That never
ends for a rule that comes back to itself with more behind it each time, and it takes long where there are very many
ways. It looks for left recursion itself, recursively and without noting where it was, but does not see it behind rules
that may be empty in a roundabout way. `problem` sees both; all is counted here without recursion.

What cannot be bounded beforehand is how many ways an ambiguous grammar has at once later in a text.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

Rules = dict[int, list[list[int]]]
"""Alternatives of each rule. An item that is not negative is a rule."""

DEPTH_LIMIT: Final = 5000
"""Rules that begin with each other. llama.cpp's recursion overflows its stack between 50,000 and 100,000."""
VISIT_LIMIT: Final = 1_000_000
"""Rules that llama.cpp looks at in its search for left recursion, repeats counted: 15 ns each."""
WAYS_LIMIT: Final = 4096
"""Places at which one rule can begin. llama.cpp compares each with each: 16,384 take half a second."""
NAMES_SHOWN: Final = 6
"""Of a chain of rules."""


class Problem(Struct, frozen=True):
    """Why llama.cpp cannot follow the rules."""

    rule: int
    text: str


class _Edge(Struct, frozen=True):
    """A rule may begin with another one."""

    child: int
    is_last: bool
    """Nothing stands behind it."""
    is_seen: bool
    """llama.cpp's search goes this way: all rules before it have an empty alternative."""


_Edges = dict[int, list[_Edge]]


def problem(rules: Rules, chains: dict[int, int], names: Mapping[int, str]) -> Problem | None:
    """What is wrong with `rules`; None when nothing is. `chains` are rules that stand for so many alike."""
    nullable = _nullable(rules)
    edges = {rule: _edges(rules[rule], rules, nullable) for rule in rules}
    components = _components(edges)
    if found := _left_recursion(edges, components, names):
        return found
    return _too_deep(edges, components, chains) or _too_many_ways(rules, edges, components, nullable, chains)


def _nullable(rules: Rules) -> set[int]:
    """The rules that may be empty."""
    users: dict[int, list[tuple[int, int]]] = {}
    missing: dict[tuple[int, int], int] = {}
    found: set[int] = set()
    todo = []
    for rule, alternatives in rules.items():
        for i, items in enumerate(alternatives):
            if not items:
                todo.append(rule)
            elif min(items) >= 0:
                needed = set(items)
                missing[rule, i] = len(needed)
                for item in needed:
                    users.setdefault(item, []).append((rule, i))
    while todo:
        rule = todo.pop()
        if rule in found:
            continue
        found.add(rule)
        for user in users.get(rule, ()):
            missing[user] -= 1
            if not missing[user]:
                todo.append(user[0])
    return found


def _edges(alternatives: list[list[int]], rules: Rules, nullable: set[int]) -> list[_Edge]:
    """What may stand first in a rule."""
    edges = []
    for items in alternatives:
        is_seen = True
        for i, item in enumerate(items):
            if item < 0:
                break
            edges.append(_Edge(item, i == len(items) - 1, is_seen))
            if item not in nullable:
                break
            is_seen = is_seen and [] in rules[item]
    return edges


def _components(edges: _Edges) -> list[list[int]]:
    """Rules that begin with each other, those that others begin with first (Tarjan's algorithm, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    open_rules: list[int] = []
    is_open: set[int] = set()
    found = []
    for root in edges:
        if root in index:
            continue
        path = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        open_rules.append(root)
        is_open.add(root)
        while path:
            rule, rest = path[-1]
            for edge in rest:
                child = edge.child
                if child not in index:
                    index[child] = low[child] = len(index)
                    open_rules.append(child)
                    is_open.add(child)
                    path.append((child, iter(edges[child])))
                    break
                if child in is_open:
                    low[rule] = min(low[rule], index[child])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[rule])
                if low[rule] == index[rule]:
                    component: list[int] = []
                    while not component or component[-1] != rule:
                        component.append(open_rules.pop())
                    is_open.difference_update(component)
                    found.append(component)
    return found


def _left_recursion(edges: _Edges, components: list[list[int]], names: Mapping[int, str]) -> Problem | None:
    """A rule that begins with itself: one that llama.cpp refuses, or one under which it would never end.

    A cycle in which each rule stands last is neither: `("a"?)*` may be empty any number of times and goes nowhere.
    """
    for rules in components:
        inside = set(rules)
        within = {rule: [edge for edge in edges[rule] if edge.child in inside] for rule in rules}
        for rule, found in within.items():
            if (first := next((edge.child for edge in found if not edge.is_last), None)) is not None:
                return _recursive(rule, _way(first, rule, within), names)
        seen = {rule: [edge for edge in found if edge.is_seen] for rule, found in within.items()}
        for cycle in _components(seen):
            if len(cycle) > 1 or any(edge.child == cycle[0] for edge in seen[cycle[0]]):
                members = set(cycle)
                inner = {rule: [edge for edge in seen[rule] if edge.child in members] for rule in cycle}
                return _recursive(cycle[0], _way(inner[cycle[0]][0].child, cycle[0], inner), names)
    return None


def _way(start: int, end: int, edges: _Edges) -> list[int]:
    """The rules on the shortest way from `start` to `end`, which there is; without `end`."""
    before = {start: start}
    todo = deque([start])
    while end not in before:
        rule = todo.popleft()
        for edge in edges[rule]:
            if edge.child not in before:
                before[edge.child] = rule
                todo.append(edge.child)
    way = []
    while end != start:
        end = before[end]
        way.append(end)
    return way[::-1]


def _recursive(rule: int, way: list[int], names: Mapping[int, str]) -> Problem:
    """`rule` begins with the rules of `way`, and they with it. Brackets and repetitions are rules without names."""
    named = [names[one] for one in (rule, *way) if one in names]
    if not named:
        return Problem(rule, "left recursion: what is repeated can be empty; take the empty alternative out")
    shown = named if len(named) <= NAMES_SHOWN else [*named[:NAMES_SHOWN], "…"]
    chain = " -> ".join([*shown, named[0]])
    return Problem(rule, f"left recursion, {chain}: a rule must not begin with itself; put something before it there")


def _too_deep(edges: _Edges, components: list[list[int]], chains: dict[int, int]) -> Problem | None:
    """llama.cpp's search for left recursion would overflow its stack, or take long."""
    depth: dict[int, int] = {}
    visits: dict[int, int] = {}
    for rules in components:
        for rule in _seen_order(rules, edges):
            children = [edge.child for edge in edges[rule] if edge.is_seen]
            count = chains.get(rule, 1)
            depth[rule] = count + max((depth[child] for child in children), default=0)
            visits[rule] = count * (1 + sum(visits[child] for child in children))
            if depth[rule] > DEPTH_LIMIT:
                return Problem(rule, f"more than {DEPTH_LIMIT} rules that begin with each other")
            if visits[rule] > VISIT_LIMIT:
                return Problem(rule, f"the rule can begin in more than {VISIT_LIMIT} ways; name each rule once")
    return None


def _seen_order(rules: list[int], edges: _Edges) -> list[int]:
    """The rules of a component so that each stands behind those it begins with, as llama.cpp sees it."""
    if len(rules) == 1:
        return rules
    inside = set(rules)
    return [
        rule
        for component in _components({r: [e for e in edges[r] if e.child in inside and e.is_seen] for r in rules})
        for rule in component
    ]


def _too_many_ways(
    rules: Rules, edges: _Edges, components: list[list[int]], nullable: set[int], chains: dict[int, int]
) -> Problem | None:
    """More places than llama.cpp can hold at once."""
    ways: dict[int, int] = {}
    for component in components:
        for rule in component:
            direct = sum(_first_terminal(items, nullable) for items in rules[rule])
            count = direct + sum(ways.get(edge.child, 0) for edge in edges[rule])
            if rule in chains and all(item in nullable for item in rules[rule][0][:-1]):
                count *= chains[rule]
            ways[rule] = count
            if count > WAYS_LIMIT:
                return Problem(rule, f"the rule can begin at more than {WAYS_LIMIT} places; give it fewer alternatives")
    return None


def _first_terminal(items: list[int], nullable: set[int]) -> bool:
    """Whether characters can stand first in an alternative without a rule."""
    for item in items:
        if item < 0:
            return True
        if item not in nullable:
            return False
    return False
