"""What stands in for the store of named grammars in a `FakeFleet`?

Names, revisions and conflicts are those of real workers. The text of a grammar is not looked at, and none is built in.
"""

from datetime import UTC, datetime

import msgspec

from golek_wire import codec, grammars
from golek_wire.errors import BadRequestError, ConflictError, UnknownGrammarError
from golek_wire.grammars import Deleted, Draft, Grammar, Grammars, Question


class FakeGrammars:
    """Grammars by name; `known` may be read and changed at any time."""

    def __init__(self) -> None:
        self.known: dict[str, Grammar] = {}
        self._revision = 0

    def answer(self, verb: str, body: bytes) -> msgspec.Struct:
        """What a worker answers on `grammars.<verb>`. Raises the error that it would answer."""
        match verb:
            case "list":
                named = sorted(self.known.values(), key=lambda one: one.name)
                return Grammars([msgspec.structs.replace(one, content="") for one in named])
            case "get":
                return self._find(codec.decode_body(body, Question).name)
            case "put":
                return self._put(codec.decode_body(body, Draft))
            case _:
                question = codec.decode_body(body, Question)
                self._check_revision(question.revision, self._find(question.name))
                del self.known[question.name]
                return Deleted(question.name)

    def _find(self, name: str) -> Grammar:
        if name not in self.known:
            raise UnknownGrammarError(f"name: no grammar is stored under the name {name!r}", param="name")
        return self.known[name]

    def _put(self, draft: Draft) -> Grammar:
        if not grammars.is_name(draft.name):
            raise BadRequestError(f"name: {draft.name!r} is no name of a grammar", param="name")
        found = self.known.get(draft.name)
        self._check_revision(draft.revision, found)
        self._revision += 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        made = Grammar(
            draft.name, draft.description, found.created if found else now, now, self._revision, content=draft.content
        )
        self.known[draft.name] = made
        return msgspec.structs.replace(made, content="")

    def _check_revision(self, wanted: int | None, found: Grammar | None) -> None:
        revision = found.revision if found is not None else 0
        if wanted is not None and wanted != revision:
            raise ConflictError(f"the grammar has revision {revision} and not {wanted}", param="revision")
