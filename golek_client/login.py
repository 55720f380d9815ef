"""As whom does a program connect to NATS, and how does it know that it is the right server?

`Login` holds what the variables NATS_USER to NATS_TLS_FIRST say. `Login.options` is the same in the words of nats-py,
`refusal` the sentence for a login or a certificate that was not accepted. Nothing here shows a secret.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Struct
from msgspec.structs import fields

from golek_wire.errors import BadRequestError, BusUnavailableError, InferenceServiceError, UnauthorizedError

API_KEY: Final = "GOLEK_API_KEY"
FROM_DOTENV: dict[str, str] = {}
"""What `golek` found in `.env`; the environment wins over it. Other programs read no `.env`."""
_TRUE: Final = ("1", "true", "yes", "on")
_MARKS: Final = (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")
_ENCRYPTED: Final = re.compile(r"(^|,\s*)(tls|wss)://")
_NOT_THIS_HOST: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""


class Login(Struct, frozen=True, kw_only=True):
    """One way to log in, and what TLS needs. A variable is a field's name in capitals after `NATS_`."""

    user: str = ""
    password: str = ""
    token: str = ""
    creds: str = ""
    """A file with the JWT and the seed of a user."""
    nkey: str = ""
    """A file with the seed of a user."""
    tls_ca: str = ""
    """A file with the certificates of the authorities to trust, instead of the system's."""
    tls_cert: str = ""
    """A file with our own certificate, where the server asks for one."""
    tls_key: str = ""
    """Its key; may stand in the certificate's file."""
    tls_first: bool = False
    """Speak TLS from the first byte, as a proxy in front of the server expects."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the variables say."""
        given = {key: text.strip() for key in VARIABLES if (text := said(key, environment)) is not None}
        texts: dict[str, Any] = {VARIABLES[key]: text for key, text in given.items()}
        return cls(**texts | {"tls_first": texts.get("tls_first", "").lower() in _TRUE})

    @property
    def ways(self) -> list[str]:
        """The variables that say who logs in."""
        return [f"NATS_{name.upper()}" for name in ("user", "token", "creds", "nkey") if getattr(self, name)]

    def shown(self, url: str) -> str:
        """Who logs in at `url`, in words and without a secret."""
        if "@" in url:
            return "the login in the URL"
        kinds = {"user": "this user and password", "token": "this token", "creds": f"the user of {self.creds}"}
        kinds["nkey"] = f"the user of {self.nkey}"
        return next((words for field, words in kinds.items() if getattr(self, field)), "whoever has no login")

    def demands_tls(self, url: str) -> bool:
        """True when a server that offers no TLS must not be spoken to."""
        return bool(self.tls_ca or self.tls_cert or self.tls_first) or _ENCRYPTED.search(url) is not None

    def options(self, url: str) -> dict[str, Any]:
        """The keywords of nats-py's `connect`. A user in `url` wins over the one here.

        Raises BadRequestError for what contradicts itself, and for a file that is missing or is not what it should be.
        """
        if problem := self.problem():
            raise BadRequestError(problem, param=problem.split("=")[0].split(":")[0])
        found: dict[str, Any] = {}
        if "@" not in url:
            named = {"user": self.user, "password": self.password, "token": self.token}
            named |= {"user_credentials": self.creds, "nkeys_seed": self.nkey}
            found = {key: value for key, value in named.items() if value}
        if self.demands_tls(url):
            found |= {"tls": self._context(), "tls_handshake_first": self.tls_first}
        return found

    def problem(self) -> str | None:
        """What is wrong, beginning with the variable; None when nothing is. Reads the files."""
        if len(self.ways) > 1:
            return f"{self.ways[0]}: one way to log in is enough, and {' and '.join(self.ways[1:])} says another"
        if bool(self.user) != bool(self.password):
            return "NATS_USER and NATS_PASSWORD go together; a token alone is NATS_TOKEN"
        if self.tls_key and not self.tls_cert:
            return "NATS_TLS_KEY: is the key of a certificate; NATS_TLS_CERT names that"
        checks = {"NATS_CREDS": (self.creds, _check_creds), "NATS_NKEY": (self.nkey, _check_nkey)}
        for variable, (file, check) in checks.items():
            if file and (wrong := _wrong_with(file, check)):
                return f"{variable}={file}: {wrong}"
        if self.tls_ca or self.tls_cert:
            try:
                self._context()
            except BadRequestError as error:
                return error.message
        return None

    def _context(self) -> ssl.SSLContext:
        """What to trust and to show. Raises BadRequestError naming the file."""
        file = ("NATS_TLS_CA", self.tls_ca)
        try:
            context = ssl.create_default_context(cafile=self.tls_ca or None)
            if self.tls_cert:
                file = ("NATS_TLS_CERT", self.tls_cert)
                # Without a password OpenSSL would ask for that of an encrypted key at the terminal.
                context.load_cert_chain(self.tls_cert, self.tls_key or None, password=lambda: "")
        except ssl.SSLError as error:
            raise BadRequestError(
                f"{file[0]}={file[1]}: is no PEM certificate, or its key is another one or encrypted ({_why(error)})"
            ) from None
        except OSError as error:
            beside = f" (or NATS_TLS_KEY={self.tls_key})" if file[0] == "NATS_TLS_CERT" and self.tls_key else ""
            raise BadRequestError(f"{file[0]}={file[1]}{beside}: {error.strerror}") from None
        return context

    def __repr__(self) -> str:
        return f"Login({', '.join(self.ways) or 'nobody'})"


VARIABLES: Final = {f"NATS_{field.name.upper()}": field.name for field in fields(Login)}


def said(variable: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of a variable, of the environment or else of `.env`; None when nobody gives one."""
    return environment.get(variable, FROM_DOTENV.get(variable))


def refusal(url: str, whom: str, error: Exception, wanted: str) -> InferenceServiceError | None:
    """What to tell `whom`, who was not let in or met the wrong server; None for any other `error`. `url` is as shown.

    A server that hangs up may do so before its reason is read: then what it `wanted` is the reason.
    """
    text = str(error)
    hung_up = wanted if isinstance(error, ConnectionError) else ""
    if "uthorization" in text or "uthentication" in text or hung_up == "login":
        return UnauthorizedError(
            f"the NATS server at {url} refuses {whom}; NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or "
            "NATS_NKEY say who logs in, and in Python `login=Login(…)`",
            url=url,
        )
    problem = _not_accepted(url, error) if hung_up else _tls_problem(url, error)
    return BusUnavailableError(problem, url=url) if problem else None


def _tls_problem(url: str, error: Exception) -> str | None:
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in _NOT_THIS_HOST:
            return (
                f"the certificate of the NATS server at {url} is for another host ({error.verify_message}); "
                "NATS_URL must name the server as its certificate does"
            )
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of the NATS server at {url} is not trusted ({error.verify_message}); "
                "NATS_TLS_CA names the file with its authority's certificate"
            )
        case ssl.SSLError() if "ALERT" in str(error).upper():
            return _not_accepted(url, error)
        case ssl.SSLError():
            return (
                f"TLS with {url} failed ({_why(error)}); NATS_TLS_FIRST is for a server or proxy that speaks TLS "
                "from the first byte, and for no other"
            )
    return None


def _not_accepted(url: str, error: Exception) -> str:
    why = _why(error) if isinstance(error, ssl.SSLError) else "it hung up"
    return (
        f"the NATS server at {url} does not accept our certificate ({why}); NATS_TLS_CERT and NATS_TLS_KEY name one "
        "that it trusts"
    )


def _wrong_with(file: str, check: Callable[[bytes], str | None]) -> str | None:
    """What `check` finds wrong with the content of `file`, or why that cannot be read."""
    try:
        return check(Path(file).read_bytes())
    except OSError as error:
        return error.strerror


def _check_creds(content: bytes) -> str | None:
    if all(mark in content for mark in _MARKS):
        return None
    return "is no credentials file: a JWT and an nkey seed between BEGIN and END lines, as `nsc generate creds` writes"


def _check_nkey(content: bytes) -> str | None:
    import nkeys  # type: ignore[import-untyped]

    try:
        nkeys.from_seed(bytearray(content.strip())).wipe()
    except (nkeys.NkeysError, ValueError, IndexError):
        return "is no nkey seed: one line that begins with SU"
    return None


def _why(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
