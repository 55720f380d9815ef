"""Where in a prompt do a model's placeholders stand, and were its texts left alone?"""

from collections.abc import Sequence

from golek_worker.image_marks import IMAGE_MARK


def put(prompt: str, cuts: Sequence[int], marks: Sequence[int], names: Sequence[str]) -> tuple[str, list[int]]:
    """`prompt` with a placeholder of these `names` instead of each mark, and its cuts: also on both sides of each."""
    text, at = "", 0
    found: set[int] = set()
    for end, name in [*zip(marks, names, strict=False), (len(prompt), "")]:
        found.update(len(text) + cut - at for cut in cuts if at < cut <= end)
        text += prompt[at:end]
        found.update((len(text), len(text) + len(name)))
        text += name
        at = end + len(IMAGE_MARK)
    return text, sorted(found - {0, len(text)})


def are_all(asked: Sequence[int], found: Sequence[int], ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether outside of the images, which lie in `ranges`, all tokens of `found` are those that were asked for.

    Where vLLM finds no placeholder among the tokens, it makes a text of them and reads that anew: what a caller wrote
    may then have become a control token.
    """
    texts: list[int] = []
    at = 0
    for start, end in sorted(ranges):
        texts += found[at:start]
        at = end
    texts += found[at:]
    rest = iter(asked)
    return all(token in rest for token in texts)
