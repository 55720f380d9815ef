"""Programs for GOLEK_AUTH, in every form that one may have."""

import asyncio
from collections.abc import Mapping
from typing import Any


async def by_header(headers: Mapping[str, str]) -> str | None:
    """Whoever says a name."""
    await asyncio.sleep(0)
    return headers.get("x-name") or None


def broken(headers: Mapping[str, str]) -> str:
    raise RuntimeError("no database")


def wrong(headers: Mapping[str, str]) -> dict[str, Any]:
    return {"key_id": "ann", "rpm": "many"}


not_callable = 3
