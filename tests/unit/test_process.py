"""What a process asks of the system for itself."""

import subprocess
import sys

PROGRAM = """
import resource
from golek_worker.process import raise_file_limit
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, most))
told = raise_file_limit()
assert told == most == resource.getrlimit(resource.RLIMIT_NOFILE)[0], (told, most)
"""


def test_a_process_may_open_all_files_that_it_may() -> None:
    """The soft limit, often 1024, is not what ends a gateway's connections."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
