"""Users for tests: nkeys, and a credentials file with the server configuration that knows its operator."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import nkeys  # type: ignore[import-untyped]

_ROLES = {"operator": nkeys.PREFIX_BYTE_OPERATOR, "account": nkeys.PREFIX_BYTE_ACCOUNT, "user": nkeys.PREFIX_BYTE_USER}


class Nkey(NamedTuple):
    """A key pair: the seed is the secret."""

    seed: str
    public: str


class Operated(NamedTuple):
    """A credentials file and what a server needs to accept it."""

    creds: Path
    options: tuple[str, ...]


def nkey(role: str = "user") -> Nkey:
    """A new key pair."""
    seed = nkeys.encode_seed(os.urandom(32), _ROLES[role])
    pair = nkeys.from_seed(bytearray(seed))
    return Nkey(bytes(seed).decode(), pair.public_key.decode())


def credentials(folder: Path) -> Operated:
    """A user of an account of an operator, all three new (JWTs as NATS's ADR-14 has them)."""
    operator, account, user = nkey("operator"), nkey("account"), nkey("user")
    limits = {"subs": -1, "data": -1, "payload": -1, "conn": -1, "imports": -1, "exports": -1, "wildcards": True}
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    of_operator = _jwt(operator, operator.public, "test", {"type": "operator"})
    of_account = _jwt(operator, account.public, "fleet", {"type": "account", "limits": limits | storage})
    of_user = _jwt(account, user.public, "worker", {"type": "user", "subs": -1, "data": -1, "payload": -1})
    creds = folder / "worker.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    preload = f"resolver: MEMORY\nresolver_preload {{ {account.public}: {of_account} }}"
    return Operated(creds, (f"operator: {of_operator}", preload))


def _jwt(issuer: Nkey, subject: str, name: str, nats: dict[str, Any]) -> str:
    claims: dict[str, Any] = {"iat": int(time.time()), "iss": issuer.public, "name": name, "sub": subject}
    claims["nats"] = nats | {"version": 2}
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    signed = f"{_base64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_base64(claims)}"
    signature = nkeys.from_seed(bytearray(issuer.seed.encode())).sign(signed.encode())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _base64(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
