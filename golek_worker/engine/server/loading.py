"""How does a server become an engine?

Where we start it, its command is run and its health waited for. Where others run it, it is waited for as long as it
takes: meanwhile requests lie in the queue.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import Callable

import msgspec

from golek_wire.errors import NonRetriableError, ProviderRefusedError, RetriableError
from golek_worker.engine.base import ASIDE, EngineConfig, EngineLoadError
from golek_worker.engine.server import commands, facts
from golek_worker.engine.server.dialects import DIALECTS, Dialect
from golek_worker.engine.server.engine import FOR_EVER_S, ServerEngine
from golek_worker.engine.server.process import Started, free_port
from golek_worker.engine.server.site import Site, port_of, root_of
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server

SOON_S = 0.1
LATER_S = 1.0
"""Between two looks at a server that is not well yet; the latter once it took a hundred of the former."""
SAY_S = 30.0
"""Between two lines about a server that is waited for."""


async def load(config: EngineConfig, progress: Callable[[int, int], None]) -> ServerEngine:
    """The engine over the server of `config`. Raises EngineLoadError."""
    dialect = DIALECTS[config.engine]
    url, key, started = config.server.url, config.server.key, None
    if _is_ours(config, dialect):
        port, key = port_of(url) or free_port(), key or secrets.token_urlsafe()  # web pages reach this machine, too
        url = url or f"http://{commands.HOST}:{port}"
        line = commands.command(config, dialect, port)
        print(f"{ASIDE}starts {' '.join(line)}", file=sys.stderr, flush=True)
        started = await Started.start(line, commands.surroundings(dialect, port, key))
    site = Site(config.engine, root_of(url or dialect.url), key)
    try:
        engine = await _engine(config, dialect, site, started, progress)
    except EngineLoadError:
        await site.close()
        if started is not None:
            await started.close()
        raise
    if started is not None:
        started.is_loaded = True
    return engine


def _is_ours(config: EngineConfig, dialect: Dialect) -> bool:
    """Whether the server is to be started: by a command that is given, or its own where there is no address."""
    server = config.server
    return bool(server.command) or not (server.url or dialect.url)


async def _engine(
    config: EngineConfig,
    dialect: Dialect,
    site: Site,
    started: Started | None,
    progress: Callable[[int, int], None],
) -> ServerEngine:
    """The engine once its server is well, whenever that is where others run it."""
    began, next_words = time.monotonic(), 0.0
    while True:
        try:
            return await _once(config, dialect, site, started)
        except ProviderRefusedError as error:
            raise EngineLoadError(f"SERVER_KEY: {error.message}") from None
        except NonRetriableError as error:
            raise EngineLoadError(f"{site.root} is no {config.engine}: {error.message}; see SERVER_URL") from None
        except RetriableError as error:
            trouble = error
        now = time.monotonic()
        if started is not None:
            await _check(config, started, now - began, trouble)
        elif now >= next_words:
            next_words = now + SAY_S
            print(f"waits for {config.engine} at {site.root}: {trouble}", file=sys.stderr, flush=True)
        progress(0, 1)
        await asyncio.sleep(SOON_S if now - began < SOON_S * 100 else LATER_S)


async def _once(config: EngineConfig, dialect: Dialect, site: Site, started: Started | None) -> ServerEngine:
    """Raises InferenceServiceError where it is not well yet, EngineLoadError where the model is not there."""
    await site.asked("GET", dialect.health)
    found = await facts.gather(config, dialect, site)
    server = Server(config.engine, f"{site.root}/v1", first_byte_s=FOR_EVER_S, silence_s=FOR_EVER_S)
    quirks = msgspec.structs.replace(found.dialect.quirks, draws_as_we_do=True)
    engine = ServerEngine(config, found, site, OpenAIProvider(server, site.key, quirks), started)
    if config.kind == "embedding":
        await engine.measure_width()
    return engine


async def _check(config: EngineConfig, started: Started, waited_s: float, trouble: RetriableError) -> None:
    """Raise EngineLoadError for a server that will never be well."""
    if started.has_ended:
        raise EngineLoadError(f"{config.engine}: {await started.how_it_ended()}")
    if waited_s > config.server.start_s:
        raise EngineLoadError(
            f"{config.engine} is not well {waited_s:.0f} s after its start ({trouble}); SERVER_START_S="
            f"{config.server.start_s:g} is the limit"
        )
