"""How does one download a model's file without starting a worker?

`golek pull <deployment>` puts it where the deployment looks for it, `golek pull <model> --to <file>` anywhere.
`golek models pull` takes a model of the catalogue and a source as well.
"""

import re
from contextlib import closing
from pathlib import Path

import msgspec

from golek_wire import subjects
from golek_worker import settings
from golek_worker.machine import modelfiles
from golek_worker.machine.bar import Bar, Say
from golek_worker.machine.modelfiles import Found, ModelError
from golek_worker.registry import catalog, origin, projector, source
from golek_worker.registry.catalog import Wanted, shown_size
from golek_worker.registry.entries import SHA256
from golek_worker.registry.fetch import fetch
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.registry.source import PART, SourceError

_SOURCE = re.compile(r"hf:|\w+://|\.{0,2}/|.*\.gguf$")
"""What is meant as a source, right or wrong, and not as a name."""


async def pull(name: str, to: Path | None = None, *, say: Say = print) -> Path:
    """Download what the deployment `name` needs, or with `to` as `pull_model` does; the file, also when it was there.

    Raises SettingsError, MissingModelError, ModelError, CatalogError, DownloadError.
    """
    if to is not None:
        return await pull_model(name, to=to, say=say)
    chosen = settings.load(settings.env_file(name))
    if chosen.model_lies_in == "none":
        raise MissingModelError(f"ENGINE={chosen.engine} of {name!r} needs no model file")
    found = resolve(chosen)
    if isinstance(found, Wanted):
        found = await _download(name, found, chosen.model_file, say)
    else:
        say(f"{found} is there already")
    if (eyes := projector.wanted(chosen, found)) is not None:
        await _download(f"{name}: eyes", *eyes, say)
    return found


async def pull_model(
    what: str, *, name: str = "", to: Path | None = None, sha256: str = "", force: bool = False, say: Say = print
) -> Path:
    """Download the file of a deployment, of a known model with its eyes, or of a source; with `force` also when it is
    there.

    `name` is what a source's model shall be called; `sha256` what the file must have, also one that is there already.

    Raises ModelError, CatalogError, DownloadError.
    """
    file = await _pull_file(what, name=name, to=to, sha256=sha256, force=force, say=say)
    if to is None and (eyes := projector.wanted(modelfiles.find(name or what).chosen, file)) is not None:
        await _download(f"{name or what}: eyes", *eyes, say)
    return file


async def _pull_file(what: str, *, name: str, to: Path | None, sha256: str, force: bool, say: Say) -> Path:
    wanted, target = _meant(what, name, to)
    if wanted is None and force:
        raise ModelError(f"{target} is there, and no source of it is known; give one: {source.FORMS}")
    if wanted is not None and sha256:
        wanted = _with_hash(wanted, sha256.lower())
    first = wanted.source.targets(target)[0] if wanted is not None else target
    if wanted is None or (first.exists() and not force):
        actual = origin.hash_of(first, lambda _: None) if sha256 else ""
        if actual != sha256.lower():
            way = "--force replaces it" if wanted is not None else "no source of it is known"
            raise ModelError(f"{first} is there with sha256 {actual}, wanted is {sha256.lower()}; {way}")
        say(f"{first} is there already" + (f", sha256 {actual}" if sha256 else ""))
        return first
    return await _download(name or target.parent.name, wanted, target, say, again=force)


def _meant(what: str, name: str, to: Path | None) -> tuple[Wanted | None, Path]:
    """What to download, and where to; None for a file that is here and of which no source is known.

    Raises ModelError, CatalogError.
    """
    try:
        place = source.parse(what)
    except SourceError as error:
        if _SOURCE.match(what):
            raise ModelError(str(error)) from None
        found = modelfiles.find(what)
        if to is None and found.files and catalog.wanted(found.chosen) is None:
            return None, found.place or found.files[0]
        wanted = _known(found)
    else:
        part = PART.fullmatch(place.name)
        found = modelfiles.find(name or (part["stem"] if part else place.name.removesuffix(".gguf")))
        wanted = catalog.offered(place)
    chosen = found.chosen
    if not subjects.is_model_name(chosen.model_name):
        raise ModelError(f"{chosen.model_name!r} cannot be the name of a model; give another with --name")
    if forbidden := catalog.is_offline(chosen, wanted.source):
        raise ModelError(f"{forbidden} forbids to download {wanted.source}")
    if to is None:
        return wanted, found.place or chosen.model_file
    return wanted, to / wanted.source.name if to.is_dir() else to


def _known(found: Found) -> Wanted:
    """What is downloaded for a name. Raises ModelError, CatalogError."""
    if found.chosen.model_lies_in == "none":
        raise ModelError(f"ENGINE={found.chosen.engine} of {found.name!r} needs no model file")
    if (wanted := catalog.wanted(found.chosen)) is not None:
        return wanted
    if found.entry is not None:
        why = found.entry.unavailable or f"it is not downloaded but made: {found.entry.made_by}"
        raise ModelError(f"{found.name}: {why}")
    raise ModelError(f"{modelfiles.unknown(found.name)}; or give a source: {source.FORMS}")


def _with_hash(wanted: Wanted, sha256: str) -> Wanted:
    """`wanted` with a hash that somebody gave by hand. Raises ModelError."""
    if re.match(SHA256, sha256) is None:
        raise ModelError(f"--sha256 {sha256}: 64 hexadecimal digits")
    if not wanted.source.has_one_file:
        raise ModelError(f"--sha256: {wanted.source} has several files; leave it out")
    return msgspec.structs.replace(wanted, sha256=sha256, named_by="--sha256")


async def _download(name: str, wanted: Wanted, target: Path, say: Say, *, again: bool = False) -> Path:
    say(f"{wanted.source} to {target}, {wanted.size}" + (f"; {wanted.doubt}" if wanted.doubt else ""))
    with closing(Bar(name, say)) as bar:
        done = await fetch(wanted, target, bar.show, again=again)
    say(f"{done.path}: {shown_size(done.size)} in {done.seconds:.1f} s, verified: {done.checked}")
    return Path(done.path)
