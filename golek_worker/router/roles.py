"""Which role does a kind of work stand for, and who is asked where nobody has that role?"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field

from golek_worker.router.targets import ANY


class RolesError(ValueError):
    """What is said of roles contradicts itself; the message names the key."""


class RoleEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A role as the file says it."""

    description: str = ""
    task_types: list[str] = []


class RolesFile(Struct, frozen=True, forbid_unknown_fields=True):
    """`data/catalog/roles.yaml`."""

    roles: dict[str, RoleEntry]
    fallbacks: dict[str, str] = {}
    default: str = ANY
    models: dict[str, list[str]] = {}


class Roles(Struct, frozen=True):
    """Task types, roles and models, ready to be asked."""

    default: str = ANY
    """Of a request that does not say what kind of work it is, and of work that no role takes."""
    by_task: dict[str, str] = field(default_factory=dict[str, str])
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """By role: it, its fallback, the fallback of that one …, and `any` last."""
    by_model: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Roles of models, and of clouds' by the name of the target; the first is what it is best at."""

    def of(self, task_type: str) -> str:
        """The role of this kind of work. A role's own name is a kind of work, too."""
        return self.by_task.get(task_type) or (task_type if task_type in self.chains else self.default)

    def chain(self, role: str) -> tuple[str, ...]:
        """Whose models are asked for a role, in order."""
        return self.chains.get(role, (ANY,))


NO_ROLES: Final = Roles()


def build(
    said: RolesFile, catalogue: Mapping[str, Iterable[str]], given: Mapping[str, Iterable[str]] | None = None
) -> Roles:
    """What a file says, and of models that it does not name the `catalogue`; what is `given` by the settings counts
    more than both. Roles of the catalogue that the file does not have are passed over.

    Raises RolesError naming the key: a task type with two roles, what is no role, fallbacks in a circle.
    """
    by_task: dict[str, str] = {}
    for role, entry in said.roles.items():
        for task in entry.task_types:
            if task in by_task:
                raise RolesError(f"roles.{role}.task_types: {task!r} is one of {by_task[task]} already")
            by_task[task] = role
    _check("default", said.default, said)
    for role, fallback in said.fallbacks.items():
        _check("fallbacks", role, said)
        _check(f"fallbacks.{role}", fallback, said)
    by_model = {model: tuple(role for role in roles if role in said.roles) for model, roles in catalogue.items()}
    for key, models in (("models", said.models), ("INFERENCE_MODEL_ROLES", given or {})):
        for model, roles in models.items():
            by_model[model] = tuple(roles)
            for role in by_model[model]:
                _check(f"{key}.{model}", role, said)
    return Roles(said.default, by_task, {role: _chain(role, said) for role in said.roles}, by_model)


def _chain(role: str, said: RolesFile) -> tuple[str, ...]:
    found = [role]
    while (next_one := said.fallbacks.get(found[-1], ANY)) != ANY:
        if next_one in found:
            raise RolesError(f"fallbacks.{found[-1]}: a circle, {' -> '.join([*found, next_one])}")
        found.append(next_one)
    return (*found, ANY)


def _check(key: str, role: str, said: RolesFile) -> None:
    if role not in said.roles and role != ANY:
        raise RolesError(f"{key}: {role!r} is no role; there is {', '.join(said.roles)}")
