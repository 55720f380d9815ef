"""Which streams and consumers does a model have?

The first worker makes them; a later one with other values refuses to start and prints both.
"""

from typing import Any

from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from golek_wire import subjects
from golek_worker.bus.jetstream import CONSUMER_ALREADY_EXISTS, NO_STORAGE, NS, STREAM_NAME_IN_USE, JetStreamError, api

ACK_WAIT_S = 6.0
"""A lease not renewed for this long goes to another replica."""
DAY_S = 24 * 3600
PRIORITY_GROUP = "jobs"


class MismatchError(Exception):
    """The fleet cannot take this worker as it is configured; the message names both sides."""


def job_stream_config(token: str, capacity: int) -> dict[str, Any]:
    """The work queue of one model: a full one refuses at once (10077), other models are untouched."""
    return {
        "name": subjects.job_stream(token),
        "subjects": subjects.job_stream_subjects(token),
        "retention": "workqueue",
        "discard": "new",
        "storage": "file",
        "num_replicas": 1,
        "max_msgs": capacity,
        "max_bytes": 2 * 1024**3,
        "max_age": 25 * 3600 * NS,
        "max_msg_size": -1,
        "duplicate_window": 120 * NS,
        "allow_msg_ttl": True,
        "allow_direct": True,
    }


def consumer_config(token: str, kind: str = "inference", priority: str = "normal") -> dict[str, Any]:
    """The durable pull consumer of one kind and priority.

    `max_deliver` is unlimited: a NAK, a drain and a frozen host count as deliveries too, so the count is no verdict.
    The priority group is there from the first day: added later, every pull without `group` is refused.
    """
    name = subjects.consumer(token, kind, priority)
    return {
        "name": name,
        "durable_name": name,
        "filter_subject": subjects.job(token, kind, priority),
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": int(ACK_WAIT_S * NS),
        "max_deliver": -1,
        "max_ack_pending": 20000,
        "max_waiting": 8192,
        "priority_groups": [PRIORITY_GROUP],
        "priority_policy": "prioritized",
    }


def dlq_stream_config() -> dict[str, Any]:
    """Poison jobs of all models, for 7 days."""
    return {
        "name": subjects.DLQ_STREAM,
        "subjects": [subjects.DLQ_SUBJECTS],
        "retention": "limits",
        "storage": "file",
        "num_replicas": 1,
        "max_age": 7 * DAY_S * NS,
        "allow_direct": True,
    }


def bucket_config(name: str, ttl_s: int = 0) -> dict[str, Any]:
    """A KV bucket (ADR-8): the newest value of each key, for `ttl_s` seconds (0 is for ever)."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": 1,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "max_age": ttl_s * NS,
        "duplicate_window": min(ttl_s, 120) * NS if ttl_s else 120 * NS,
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def results_config() -> dict[str, Any]:
    """The bucket of final messages. Each key says how long it lives; a full bucket drops the oldest answer, because a
    fresh one is worth more.
    """
    return bucket_config(subjects.RESULTS_BUCKET) | {
        "max_bytes": 2 * 1024**3,
        "allow_msg_ttl": True,
        "discard": "old",
    }


def revision_of_deleted(error: KeyNotFoundError) -> int:
    """What compare-and-set must name for a key that is not there: the revision of its delete marker, or 0."""
    return error.entry.revision if error.entry is not None and error.entry.revision else 0


async def ensure_stream(client: Client, config: dict[str, Any]) -> None:
    """Create the stream, or find it as wanted. Raises MismatchError naming each differing value."""
    name = config["name"]
    try:
        await api(client, f"STREAM.CREATE.{name}", config)
    except JetStreamError as error:
        if error.code == NO_STORAGE:
            room = config.get("max_bytes", 0) // 2**20
            raise MismatchError(
                f"the broker has no storage left for stream {name}, which reserves {room} MiB; "
                "free disk space, or raise `max_file` of its `jetstream` settings"
            ) from error
        if error.code != STREAM_NAME_IN_USE:
            raise
        found = (await api(client, f"STREAM.INFO.{name}"))["config"]
        _compare(f"stream {name}", config, found)


async def ensure_consumer(client: Client, stream: str, config: dict[str, Any]) -> None:
    """Create the consumer, or find it as wanted. Raises MismatchError naming each differing value.

    `action: create`, because create-or-update silently moves an existing consumer's filter.
    """
    name = config["name"]
    call = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
    try:
        await api(client, call, {"stream_name": stream, "config": config, "action": "create"})
    except JetStreamError as error:
        if error.code != CONSUMER_ALREADY_EXISTS:
            raise
        found = (await api(client, f"CONSUMER.INFO.{stream}.{name}"))["config"]
        _compare(f"consumer {name}", config, found)


def _compare(what: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    differences = [
        f"{key}: this worker wants {value!r}, the fleet has {found.get(key)!r}"
        for key, value in wanted.items()
        if found.get(key, 0 if isinstance(value, int) else None) != value
    ]
    if differences:
        raise MismatchError(f"{what} exists with other values; " + "; ".join(differences))
