"""Who asks, by a JSON Web Token: for GOLEK_AUTH.

    GOLEK_AUTH=examples.jwt_auth:principal JWT_SECRET=… make gateway

The token comes as `Authorization: Bearer …`. It is verified with JWT_SECRET (HS256) or with the public key in the file
JWT_PUBLIC_KEY (RS256, ES256; PyJWT wants the package `cryptography` for these). It must not have expired, and be for
JWT_AUDIENCE and from JWT_ISSUER where those are given. Its `sub` is the principal. A claim `golek` may say what it may
do, as a key file does:

    {"sub": "ann", "exp": 1790000000, "golek": {"models": ["qwen3-4b"], "rpm": 60, "concurrent": 4}}

Copy it and change what differs in your house: any function that is given the headers and gives a principal, a mapping
with `key_id`, or None will do.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

LIMITS = ("models", "rpm", "tpm", "concurrent", "budget")


def principal(headers: Mapping[str, str]) -> dict[str, Any] | None:
    """Whose request it is; None for a token that is missing, wrong or expired."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    key, algorithms = _key()
    try:
        claims = jwt.decode(
            token.strip(),
            key,
            algorithms=algorithms,
            audience=os.environ.get("JWT_AUDIENCE"),
            issuer=os.environ.get("JWT_ISSUER"),
            options={"require": ["exp", "sub"]},
        )
    except jwt.InvalidTokenError:
        return None
    limits = claims.get("golek") or {}
    return {"key_id": claims["sub"], **{name: limits[name] for name in LIMITS if name in limits}}


@functools.cache
def _key() -> tuple[str, list[str]]:
    """What tokens are verified with. One of the two: whoever has a public key must not sign with it as a secret."""
    if file := os.environ.get("JWT_PUBLIC_KEY"):
        return Path(file).read_text("utf-8"), ["RS256", "ES256"]
    secret = os.environ.get("JWT_SECRET", "")
    if len(secret) < 32:
        raise RuntimeError("JWT_SECRET has at least 32 characters, or JWT_PUBLIC_KEY names a file")
    return secret, ["HS256"]


_key()  # so that a gateway without a key does not start
