"""Where does a router find the names that it serves?

In the files that its settings name, or those that ship; with the clouds that can be asked and what these take.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from golek_wire.routing import Offer
from golek_worker.orchestration import presets, prompts
from golek_worker.orchestration.presets import Presets, PresetsError
from golek_worker.orchestration.prompts import PromptsError
from golek_worker.providers import catalog
from golek_worker.registry import entries
from golek_worker.registry.entries import CatalogError
from golek_worker.router import tables
from golek_worker.router.reading import Tables
from golek_worker.router.table import Table
from golek_worker.router.tables import Clouds, TablesError, Wishes
from golek_worker.settings import Settings


def open_clouds(chosen: Settings, environ: Mapping[str, str]) -> catalog.Clouds:
    """The providers that can be asked. Raises ProvidersError."""
    file = Path(chosen.providers_file) if chosen.providers_file else catalog.CATALOG
    return catalog.opened(catalog.read(file), environ)


def routes_file(chosen: Settings) -> Path:
    """Where names, aliases and policies stand."""
    return Path(chosen.routes_file) if chosen.routes_file else tables.ROUTES


def roles_file(chosen: Settings) -> Path:
    """What task types stand for."""
    return Path(chosen.roles_file) if chosen.roles_file else tables.ROLES


def open_tables(chosen: Settings, clouds: catalog.Clouds) -> Tables:
    """The names of a router with these clouds, read again when a file changes. Raises as `read_table`."""
    files = (routes_file(chosen), roles_file(chosen), _prices_file(chosen), entries.CATALOG, *preset_files(chosen))
    return Tables(lambda: read_table(chosen, clouds), files)


def read_table(chosen: Settings, clouds: catalog.Clouds) -> Table:
    """The names as they are now. Raises TablesError naming file and key; a file that a setting names must be there."""
    for key, said in (
        ("ROUTES_FILE", chosen.routes_file),
        ("ROLES_FILE", chosen.roles_file),
        ("PROVIDERS_FILE", chosen.providers_file),
        ("PRICES_FILE", chosen.prices_file),
        ("PRESETS_FILE", chosen.presets_file),
    ):
        if said and not Path(said).is_file():
            raise TablesError(f"{key}={said}: no such file")
    return _read(chosen, clouds)


def preset_files(chosen: Settings) -> tuple[Path, Path, Path]:
    """Where presets stand: those that ship, the user's own, and a list of models that may have some beside them."""
    own = Path(chosen.presets_file) if chosen.presets_file else presets.OWN
    return presets.PRESETS, own, entries.own_list(models_file=chosen.models_file) or entries.LISTS[0]


def read_presets(chosen: Settings) -> Presets:
    """The presets as they are now. Raises PresetsError naming file, preset and key. That a stage is told nothing is a
    problem: it may be there when the preset is asked.
    """
    found = presets.read(*preset_files(chosen))
    try:
        told = prompts.read()
    except PromptsError:  # the start of a router says it
        return found
    wrong = ((one, said) for one in found.by_id.values() if (said := told.wrong_stages(one)))
    mistaken = tuple(f"{one.origin}: {one.id}.stages: {said}" for one, said in wrong)
    return msgspec.structs.replace(found, problems=(*found.problems, *mistaken))


def first_offers(chosen: Settings, environ: Mapping[str, str]) -> list[Offer]:
    """What a router will serve beside the fleet's own models, by its files alone; nothing where these are wrong, which
    its start will say.
    """
    try:
        clouds = open_clouds(chosen, environ)
        return _read(chosen, clouds).offers()
    except (TablesError, catalog.ProvidersError):
        return []


def _prices_file(chosen: Settings) -> Path:
    return Path(chosen.prices_file) if chosen.prices_file else tables.PRICES


def _read(chosen: Settings, clouds: catalog.Clouds) -> Table:
    wishes = Wishes(
        chosen.inference_auto_route_strategy,
        chosen.inference_auto_route_fallback,
        chosen.router_spill,
        {model: list(roles) for model, roles in chosen.inference_model_roles.items()},
        "" if chosen.inference_preload_models else chosen.inference_config,
        chosen.inference_orchestration_mode,
    )
    try:
        listed = entries.known(models_file=chosen.models_file)
        written = read_presets(chosen)
    except (CatalogError, PresetsError) as error:
        raise TablesError(str(error)) from None
    known = Clouds(
        {one.name: one for one in clouds.targets}, dict(clouds.missing), dict(clouds.not_set_up),
        tuple(clouds.problems), clouds.prices_as,
    )  # fmt: skip
    catalogue = tables.of_catalogue(listed)
    table = tables.build(
        routes_file(chosen), roles_file(chosen), known, wishes, catalogue, _prices_file(chosen), written.by_id
    )
    return msgspec.structs.replace(table, problems=(*table.problems, *written.problems))
