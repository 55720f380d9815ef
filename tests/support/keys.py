"""Keys for tests that need no bucket."""

from golek_wire.keys import Key


class Known(dict[str, Key]):
    """Keys by their digests; the bucket may know others, but for those that it was asked for."""

    find = dict[str, Key].get
    denied: frozenset[str] = frozenset()
    """Digests that the bucket does not know, by its own word."""

    def is_worth_a_look(self, digest: str) -> bool:
        return digest not in self and digest not in self.denied
