"""How are ports of a machine used that may be taken?

In a network namespace of our own, where all ports are free. It needs no rights where the kernel lets users make one.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

_INSIDE = "GOLEK_BOOK_INSIDE"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
_UNSHARE = ["unshare", "--user", "--map-root-user", "--net"]


def enter() -> None:
    """Run this program again in a namespace, where that can be; it does not return then."""
    if os.environ.get(_INSIDE):
        _bring_loopback_up()
    elif _can_unshare():
        os.execvpe(_UNSHARE[0], [*_UNSHARE, sys.executable, *sys.argv], os.environ | {_INSIDE: "1"})


def _can_unshare() -> bool:
    if sys.platform != "linux" or shutil.which(_UNSHARE[0]) is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def _bring_loopback_up() -> None:
    """A new namespace has 127.0.0.1 on an interface that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
