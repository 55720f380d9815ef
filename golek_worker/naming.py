"""Where does a router find the names that it serves?

In the files that its settings name, or those that ship; with the clouds that can be asked and what these take.
"""

from pathlib import Path

from golek_worker.registry import entries
from golek_worker.registry.entries import CatalogError
from golek_worker.router import tables
from golek_worker.router.prices import Prices
from golek_worker.router.providers import catalog
from golek_worker.router.reading import Tables
from golek_worker.router.table import Table
from golek_worker.router.tables import Clouds, TablesError, Wishes
from golek_worker.settings import Settings


def routes_file(chosen: Settings) -> Path:
    """Where names, aliases and policies stand."""
    return Path(chosen.routes_file) if chosen.routes_file else tables.ROUTES


def roles_file(chosen: Settings) -> Path:
    """What task types stand for."""
    return Path(chosen.roles_file) if chosen.roles_file else tables.ROLES


def open_tables(chosen: Settings, clouds: catalog.Clouds, prices: Prices) -> Tables:
    """The names of a router with these clouds. Raises TablesError naming file and key; a file that a setting names must
    be there.
    """
    for key, said in (("ROUTES_FILE", chosen.routes_file), ("ROLES_FILE", chosen.roles_file)):
        if said and not Path(said).is_file():
            raise TablesError(f"{key}={said}: no such file")
    files = (routes_file(chosen), roles_file(chosen), entries.CATALOG)
    return Tables(lambda: _read(chosen, clouds, prices), files)


def of_clouds(clouds: catalog.Clouds, prices: Prices) -> Clouds:
    """What tables know of providers: their models, with what they take."""
    known_as = clouds.prices_as
    priced = [prices.priced(one, known_as.get(one.name, "")) for one in clouds.targets]
    return Clouds({one.name: one for one in priced}, dict(clouds.missing), tuple(clouds.problems))


def _read(chosen: Settings, clouds: catalog.Clouds, prices: Prices) -> Table:
    wishes = Wishes(
        chosen.inference_auto_route_strategy,
        chosen.inference_auto_route_fallback,
        chosen.router_spill,
        {model: list(roles) for model, roles in chosen.inference_model_roles.items()},
    )
    try:
        listed = entries.known(models_file=chosen.models_file)
    except CatalogError as error:
        raise TablesError(str(error)) from None
    catalogue = tables.of_catalogue(listed)
    return tables.build(routes_file(chosen), roles_file(chosen), of_clouds(clouds, prices), wishes, catalogue)
