"""A wrong address of the gateway is blamed on the setting that is wrong."""

from pathlib import Path

from golek_program.settings.http import Gateway
from golek_worker.machine import gateway
from tests.support.ports import free_port


def test_a_host_that_is_not_here_is_no_fault_of_the_port(tmp_path: Path) -> None:
    """A name that nobody knows, and another machine's address; this machine's own are none."""
    for host, wrong in (("example.invalid", True), ("192.0.2.1", True), ("127.0.0.1", False), ("0.0.0.0", False)):
        chosen = Gateway(golek_data=tmp_path, inference_host=host, inference_port=free_port(), golek_health_port=0)
        found = gateway.problems(chosen)
        assert [one.partition(" (")[0] for one in found] == (
            [f"INFERENCE_HOST={host}: is no address of this machine"] if wrong else []
        )
