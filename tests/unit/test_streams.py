"""What does a worker say of a queue that was made with other settings?"""

import pytest

from golek_worker.bus import streams
from golek_worker.bus.streams import FIFO, MismatchError, job_stream_config


def test_a_queue_with_other_settings_names_them_and_what_to_type() -> None:
    """By their names in the env file; the way out works with what is installed."""
    wanted, found = job_stream_config("echo", 5, "priority"), job_stream_config("echo", 2000, FIFO)
    with pytest.raises(MismatchError) as raised:
        streams._compare("stream GOLEK_JOBS_echo", streams._by_settings(wanted), streams._by_settings(found))
    said = str(raised.value)
    assert "QUEUE_CAPACITY: this worker wants 5, the fleet has 2000" in said
    assert "INFERENCE_QUEUE_STRATEGY: this worker wants 'priority', the fleet has 'fifo'" in said
    assert "Set QUEUE_CAPACITY=2000 INFERENCE_QUEUE_STRATEGY=fifo, or make the queue anew" in said
    assert "golek req '$JS.API.STREAM.DELETE.GOLEK_JOBS_echo' ''" in said
    assert "waiting jobs would be lost" in said


def test_what_is_no_setting_keeps_its_name() -> None:
    """Another stream's limit is not a queue's capacity, and nothing is said of making it anew."""
    wanted, found = streams.dlq_stream_config(), streams.dlq_stream_config() | {"max_age": 1}
    with pytest.raises(MismatchError) as raised:
        streams._compare("stream GOLEK_DLQ", streams._by_settings(wanted), streams._by_settings(found))
    assert str(raised.value).endswith("the fleet has 1")
