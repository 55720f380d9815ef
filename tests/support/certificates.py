"""Certificates for tests: an authority of our own, and what it signs. Made by the `openssl` command line."""

import subprocess
from pathlib import Path
from typing import NamedTuple

_DAYS = "3"


class Signed(NamedTuple):
    """A certificate and its key, as files."""

    cert: str
    key: str


class Authority:
    """Signs certificates; `file` is what others must trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = folder / f"{name}.key"
        self.file = str(folder / f"{name}.pem")
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS,
            "-keyout", str(self._key), "-out", self.file, "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def sign(self, name: str, *hosts: str) -> Signed:
        """A certificate for `hosts`, each as OpenSSL writes it: `IP:127.0.0.1`, `DNS:localhost`."""
        signed = Signed(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        wanted = self._folder / f"{name}.csr"
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", signed.key, "-out", str(wanted), "-subj", f"/CN={name}",
        )  # fmt: skip
        names = self._folder / f"{name}.ext"
        names.write_text(f"subjectAltName={','.join(hosts)}\n" if hosts else "basicConstraints=CA:FALSE\n")
        _openssl(
            "x509", "-req", "-in", str(wanted), "-CA", self.file, "-CAkey", str(self._key), "-CAcreateserial",
            "-days", _DAYS, "-out", signed.cert, "-extfile", str(names),
        )  # fmt: skip
        return signed


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
