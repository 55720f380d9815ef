"""Which place keeps what one step hands to the next?

The same choice as for conversations, GOLEK_SESSION_STORE: Redis where that names one, else the router's memory; nobody
waits for the broker between two steps.
"""

from typing import Final

from golek_program.settings.values import hidden
from golek_worker.orchestration.handoffs import TTL_S, HandoffCache
from golek_worker.sessions.memory import MemoryStore
from golek_worker.sessions.redis import RedisStore
from golek_worker.settings import Settings

PREFIX: Final = "golek:"
"""Of keys in Redis: `golek:<principal>.handoff:<request>`."""
ROOM: Final = 16 * 2**20


async def open_handoffs(chosen: Settings) -> HandoffCache:
    """The cache of handoff states. Raises RuntimeError without the Redis that is named."""
    where = chosen.golek_session_store
    if where in ("kv", "memory"):
        return HandoffCache(MemoryStore(TTL_S, room=ROOM))
    return HandoffCache(await RedisStore.open(where, TTL_S, hidden(where), PREFIX))
