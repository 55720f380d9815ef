"""How does one download a model's file without starting a worker?

`golek pull <deployment>` puts it where the deployment looks for it, `golek pull <model> --to <file>` anywhere.
"""

from contextlib import closing
from pathlib import Path

from golek_worker import settings
from golek_worker.machine.bar import Bar, Say
from golek_worker.registry import catalog, entries
from golek_worker.registry.catalog import Wanted, shown_size
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.fetch import fetch
from golek_worker.registry.resolve import MissingModelError, resolve


async def pull(name: str, to: Path | None = None, *, say: Say = print) -> Path:
    """Download what `name` needs; the file, also when it was there already. A folder `to` keeps the file's own name.

    Raises SettingsError, MissingModelError, DownloadError.
    """
    found, target = _of_deployment(name) if to is None else _of_catalogue(name, to)
    if not isinstance(found, Wanted):
        say(f"{found} is there already")
        return found
    say(f"{found.source} to {target}, {found.size}" + (f"; {found.doubt}" if found.doubt else ""))
    with closing(Bar(name, say)) as bar:
        done = await fetch(found, target, bar.show)
    say(f"{done.path}: {shown_size(done.size)} in {done.seconds:.1f} s, verified: {done.checked}")
    return Path(done.path)


def _of_deployment(name: str) -> tuple[Path | Wanted, Path]:
    chosen = settings.load(settings.env_file(name))
    if chosen.engine != "llamacpp":
        raise MissingModelError(f"ENGINE={chosen.engine} of {name!r} needs no model file")
    return resolve(chosen), chosen.model_file


def _of_catalogue(name: str, to: Path) -> tuple[Path | Wanted, Path]:
    try:
        known = entries.known(models_file=settings.shared("MODELS_FILE") or "")
    except CatalogError as error:
        raise MissingModelError(str(error)) from None
    entry = known.get(name)
    if entry is None:
        raise MissingModelError(f"{entries.CATALOG} has no {name!r}; it has {', '.join(sorted(known)) or 'no models'}")
    wanted = catalog.of_entry(entry)
    if wanted is None:
        why = f"is not downloaded but made: {entry.made_by}" if entry.made_by else f"cannot be had: {entry.unavailable}"
        raise MissingModelError(f"{name!r} {why}")
    target = to / wanted.source.name if to.is_dir() else to
    first = wanted.source.targets(target)[0]
    return (first if first.exists() else wanted), target
