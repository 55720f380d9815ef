"""Keys for tests that need no bucket."""

from golek_wire.keys import Key


class Known(dict[str, Key]):
    """Keys by their digests; the fleet knows no others."""

    find = dict[str, Key].get

    def is_worth_a_look(self, digest: str) -> bool:
        return digest not in self
