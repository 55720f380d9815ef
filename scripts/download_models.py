"""Where do the models of the operator's download list come from?

    python scripts/download_models.py                     all eight, about 56 GB
    python scripts/download_models.py --set mac           the six that run in 16 GB; `server`: the other two
    python scripts/download_models.py phi-4 llama-3.2-3b  these
    python scripts/download_models.py --dir ~/models      to ~/models/<name>/<the file's own name>
    python scripts/download_models.py --list              what would come from where

Each is `golek models pull`: resumed where it was interrupted, verified, and skipped when it is there. Without --dir a
file lies where a worker looks for it; with it, INFERENCE_MODELS_DIR=<dir> tells the workers. One that fails does not
keep the others from coming; the exit status then is 1.
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from golek_worker.machine import modelfiles, pulling
from golek_worker.machine.modelfiles import ModelError
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.report import DownloadError

SETS: dict[str, tuple[str, ...]] = {
    "mac": ("llama-3.2-3b", "qwen2.5-7b", "deepseek-r1-7b", "granite-8b-code-128k", "phi-4", "phi-3-medium-128k"),
    "server": ("gpt-oss-20b", "granite-20b-code"),
}
SETS["all"] = SETS["mac"] + SETS["server"]


def main() -> int:
    """Download what is asked for; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the catalogue; else the set")
    parser.add_argument("--set", choices=SETS, default="all", help="which of the list (default: all)")
    parser.add_argument("--dir", type=Path, help="a folder for each model goes here")
    parser.add_argument("--list", action="store_true", help="download nothing, only show")
    parser.add_argument("--force", action="store_true", help="also what is there already")
    arguments = parser.parse_args()
    failed = []
    for name in arguments.models or SETS[arguments.set]:
        try:
            if arguments.list:
                told = modelfiles.describe(modelfiles.find(name))
                print(f"{name:<22} {told.state:<12} {told.size:<14} {told.where}")
            else:
                _pull(name, arguments.dir, force=arguments.force)
        except (ModelError, CatalogError, DownloadError) as error:
            print(error, file=sys.stderr)
            failed.append(name)
        except KeyboardInterrupt:
            return 130
    if failed:
        print(f"not downloaded: {', '.join(failed)}; run this again to go on", file=sys.stderr)
    return 1 if failed else 0


def _pull(name: str, folder: Path | None, *, force: bool) -> None:
    """One model. Raises ModelError, CatalogError, DownloadError."""
    to = folder.expanduser() / name if folder is not None else None
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
    asyncio.run(pulling.pull_model(name, to=to, force=force))


if __name__ == "__main__":
    sys.exit(main())
