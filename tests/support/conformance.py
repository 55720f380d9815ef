"""Does a server answer as its OpenAPI document says? schemathesis asks whatever that allows, and what it does not."""

import asyncio
import shutil
import sys
from pathlib import Path

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPECTED = ["2xx", "3xx", "4xx", "503", "504"]
"""Nobody there, or too late: what a fleet may say of what was asked rightly."""


async def check(url: str, folder: Path, patience_s: float, *options: str) -> None:
    """Fail with what schemathesis said of the server at `url`; its own files lie in `folder`."""
    (folder / "schemathesis.toml").write_text(f"[checks.not_a_server_error]\nexpected-statuses = {EXPECTED}\n")
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, "run", f"{url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "30", "--generation-deterministic", "--no-color", *options,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), patience_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-6000:]
