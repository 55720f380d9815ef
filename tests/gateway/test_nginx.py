"""The nginx of docs/behind-another-gateway.md: the configuration there, run as it stands."""

import asyncio
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from golek_client.http import InferenceServiceProvider
from tests.support import certificates
from tests.support.fronts import Fleet
from tests.support.ports import free_port

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
