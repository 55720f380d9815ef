"""Whether vLLM works in an environment, asked of the real one."""

from golek_worker.engine.vllm import probe
from tests.vllm.place import PYTHON, needs_vllm


@needs_vllm
def test_the_environment_says_version_and_platform() -> None:
    """What `golek doctor` prints, and what `make build-vllm` ends with."""
    found = probe.ask(str(PYTHON))
    assert found.platform in ("cpu", "cuda")
    assert found.version.startswith("0.")
    assert found.problem == ""
