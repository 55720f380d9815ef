"""How is what came of it printed? A row for each configuration, and sentences about those that did not help."""

from collections.abc import Iterator, Sequence

from golek_worker.evaluation.results import Figures

COMPUTED = ("offline", "bound")
_SMALL = 0.01
HEAD = [
    "configuration", "right", "accuracy", "95 %", "in", "out", "p50 ms", "p95 ms", "usd", "agree", "partial", "errors",
    "against the best single",
]  # fmt: skip


def rows(found: Sequence[Figures]) -> list[list[str]]:
    """The cells, as text."""
    return [_row(one) for one in found]


def _row(one: Figures) -> list[str]:
    return [
        f"({one.name})" if one.mode in COMPUTED else one.name,
        f"{one.right} of {one.asked}",
        f"{one.accuracy:.1%}",
        f"{one.low:.0%}-{one.high:.0%}",
        f"{one.tokens_in:.0f}",
        f"{one.tokens_out:.0f}",
        _number(one.p50_ms, ".0f"),
        _number(one.p95_ms, ".0f"),
        _number(one.cost_usd, ".4f"),
        _number(one.agreement, ".2f"),
        str(one.partial),
        str(sum(one.errors.values())),
        _against(one),
    ]


def _against(one: Figures) -> str:
    if one.verdict is None or one.difference is None or one.p_value is None:
        return ""
    likely = f"p {one.p_value:.2f}" if one.p_value >= _SMALL else f"p < {_SMALL}"
    return f"{100 * one.difference:+.1f} points, {likely}: {one.verdict}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def sentences(found: Sequence[Figures], best: str | None) -> Iterator[str]:
    """What the table says, plainly."""
    if best is None:
        yield "No model answered alone (--single NAME asks one), so nothing says whether a mode helps."
    else:
        yield f"The best single model is {best}."
    modes = [one for one in found if one.verdict is not None and one.mode not in COMPUTED]
    for verdict, said in _SAID.items():
        names = [one.name for one in modes if one.verdict == verdict]
        if names:
            yield said.format(names=", ".join(names))
    yield from _errors(found)


def _errors(found: Sequence[Figures]) -> Iterator[str]:
    """Each kind once, with the words of its first one."""
    asked = [one for one in found if one.errors and one.mode not in COMPUTED]
    if asked:
        yield "Errors, which count as wrong answers:"
    for one in asked:
        for code, count in one.errors.items():
            yield f"  {one.name}: {count} of {one.asked} {code}, such as: {one.said[code]}"


_SAID = {
    "helps": "More right answers than by it, and more than chance explains: {names}.",
    "not shown": "A few more right answers than by it, which chance may explain: {names}.",
    "no help": "No help here, at a higher price: {names}.",
    "harms": "Fewer right answers than by it, and chance does not explain it: {names}.",
}
