"""Which streams and consumers does a model have?

The first worker makes them; a later one with other values refuses to start and prints both. How many servers keep a
copy of each is one answer for all of them, `replicas`.
"""

from collections.abc import Sequence
from typing import Any

from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.jetstream import STREAM_NOT_FOUND
from golek_worker.bus import reserved
from golek_worker.bus.jetstream import (
    CONSUMER_ALREADY_EXISTS,
    NO_PEERS,
    NO_STORAGE,
    NS,
    REPLICAS_NEED_CLUSTER,
    STREAM_NAME_IN_USE,
    TIMEOUT_S,
    JetStreamError,
    api,
    patiently,
)

ACK_WAIT_S = 6.0
"""A lease not renewed for this long goes to another replica."""
LANE_UNUSED_S = 2 * 3600
"""A lane that nobody pulled from for so long belonged to a replica that is gone."""
DAY_S = 24 * 3600
TRY_S = 2.0
"""A cluster with a leader makes a stream within 0.2 s; a question without an answer was lost in an election."""
CLUSTER_REPLICAS = 3
"""Of three copies one may be lost at any time; five survive two, and each write waits for three servers."""
QUEUE_BYTES = 2 * 2**30
TOKENS_AGE_S = 300
TOKENS_BYTES = 256 * 2**20
PRIORITY_GROUP = "jobs"
STRATEGY = "golek_queue_strategy"
"""In a job stream's metadata: its INFERENCE_QUEUE_STRATEGY. Absent is fifo, as in streams older than the setting."""
FIFO = "fifo"
QUEUE_SETTINGS = ("QUEUE_CAPACITY", "INFERENCE_QUEUE_STRATEGY")
"""Settings that are properties of a model's queue."""


class MismatchError(Exception):
    """The fleet cannot take this worker as it is configured; the message names both sides."""


class NoStorageError(MismatchError):
    """The broker cannot reserve what the stream asks for."""


def job_stream_config(token: str, capacity: int, strategy: str = FIFO) -> dict[str, Any]:
    """The work queue of one model: a full one refuses at once (10077), other models are untouched.

    With priorities the server tells of each stored job, without its payload, so that idle workers know where to pull.
    """
    by_priority = {
        "metadata": {STRATEGY: strategy},
        "republish": {
            "src": subjects.job(token, "*", "*"),
            "dest": subjects.stored(token, "{{wildcard(1)}}", "{{wildcard(2)}}"),
            "headers_only": True,
        },
    }
    return {
        "name": subjects.job_stream(token),
        "subjects": subjects.job_stream_subjects(token),
        "retention": "workqueue",
        "discard": "new",
        "storage": "file",
        "max_msgs": capacity,
        "max_bytes": QUEUE_BYTES,
        "max_age": 25 * 3600 * NS,
        "max_msg_size": -1,
        "duplicate_window": 120 * NS,
        "allow_msg_ttl": True,
        "allow_direct": True,
        **({} if strategy == FIFO else by_priority),
    }


def consumer_config(
    token: str, kind: str = "inference", priority: str = "normal", lane: str = subjects.ANY_LANE
) -> dict[str, Any]:
    """The durable pull consumer of one kind, priority and lane. That of a replica's lane goes when nobody uses it.

    `max_deliver` is unlimited: a NAK, a drain and a frozen host count as deliveries too, so the count is no verdict.
    The priority group is there from the first day: added later, every pull without `group` is refused.
    """
    name = subjects.consumer(token, kind, priority, lane)
    return {
        "name": name,
        "durable_name": name,
        "filter_subject": subjects.job(token, kind, priority, lane),
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": int(ACK_WAIT_S * NS),
        "max_deliver": -1,
        "max_ack_pending": 20000,
        "max_waiting": 8192,
        "priority_groups": [PRIORITY_GROUP],
        "priority_policy": "prioritized",
        **({} if lane == subjects.ANY_LANE else {"inactive_threshold": LANE_UNUSED_S * NS}),
    }


def dlq_stream_config() -> dict[str, Any]:
    """Poison jobs of all models, for 7 days."""
    return {
        "name": subjects.DLQ_STREAM,
        "subjects": [subjects.DLQ_SUBJECTS],
        "retention": "limits",
        "storage": "file",
        "max_age": 7 * DAY_S * NS,
        "allow_direct": True,
    }


def tokens_stream_config() -> dict[str, Any]:
    """What resumable streams wrote in the last minutes; the oldest gives way, and a broker that restarts forgets it.

    The server tells of each message that it stored with its place in the stream, so that all who read it live read the
    same, and notice what they missed.
    """
    return {
        "name": subjects.TOKENS_STREAM,
        "subjects": [subjects.TOKENS_SUBJECTS],
        "retention": "limits",
        "storage": "memory",
        "max_age": TOKENS_AGE_S * NS,
        "max_msgs_per_subject": subjects.TOKENS_KEPT,
        "max_bytes": TOKENS_BYTES,
        "discard": "old",
        "allow_direct": True,
        "republish": {"src": subjects.tokens("*"), "dest": subjects.reading("{{wildcard(1)}}")},
    }


def bucket_config(name: str, ttl_s: int = 0) -> dict[str, Any]:
    """A KV bucket (ADR-8): the newest value of each key, for `ttl_s` seconds (0 is for ever)."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "storage": "file",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "max_age": ttl_s * NS,
        "duplicate_window": min(ttl_s, 120) * NS if ttl_s else 120 * NS,
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def results_config(max_bytes: int) -> dict[str, Any]:
    """The bucket of final messages. Each key says how long it lives; a full bucket drops the oldest answer, because a
    fresh one is worth more.
    """
    return bucket_config(subjects.RESULTS_BUCKET) | {
        "max_bytes": max_bytes,
        "allow_msg_ttl": True,
        "discard": "old",
    }


def revision_of_deleted(error: KeyNotFoundError) -> int:
    """What compare-and-set must name for a key that is not there: the revision of its delete marker, or 0."""
    return error.entry.revision if error.entry is not None and error.entry.revision else 0


def replicas(client: BusClient) -> int:
    """On how many servers each stream and bucket lies: what NATS_REPLICAS says, else three in a cluster.

    A cluster of two is not told from one of three whose third server is away: what is not on three servers must be
    asked for.
    """
    return client.replicas or (CLUSTER_REPLICAS if client.cluster else 1)


async def ensure_stream(client: BusClient, config: dict[str, Any], *, may_differ: Sequence[str] = ()) -> None:
    """Create the stream or bucket with the fleet's number of replicas, or find it as wanted but for `may_differ`.

    Waits out an election (`patiently`). Raises MismatchError naming each differing value, or what the broker lacks.
    """
    wanted = config | {"num_replicas": replicas(client)}
    name = wanted["name"]
    try:
        await _ask(client, f"STREAM.CREATE.{name}", wanted)
    except JetStreamError as error:
        found = await _found(client, name, error)
        if found is None:
            raise await _refusal(client, wanted, error) from error
        _compare(
            f"stream {name}",
            _by_settings({k: v for k, v in wanted.items() if k not in may_differ}),
            _by_settings(found),
        )


async def _found(client: BusClient, name: str, error: JetStreamError) -> dict[str, Any] | None:
    """The configuration of the stream that was not made because it is there; None where it is not.

    A server whose storage is all reserved says that first, of streams that are there as well.
    """
    if error.code not in (STREAM_NAME_IN_USE, NO_STORAGE):
        return None
    try:
        config: dict[str, Any] = (await _ask(client, f"STREAM.INFO.{name}"))["config"]
    except JetStreamError as problem:
        if problem.code == STREAM_NOT_FOUND:
            return None
        raise
    return config


async def open_bucket(client: BusClient, config: dict[str, Any]) -> KeyValue:
    """The bucket of `bucket_config`, made where it is missing. Waits and raises as `ensure_stream` does."""
    await ensure_stream(client, config)
    return await patiently(client, lambda: client.jetstream().key_value(config["name"].removeprefix("KV_")))


async def _refusal(client: BusClient, config: dict[str, Any], error: JetStreamError) -> Exception:
    """What to say of a stream that the broker cannot make; `error` itself when that says enough."""
    name, copies = config["name"], config["num_replicas"]
    if error.code == NO_STORAGE:
        room = config.get("max_bytes", 0) // 2**20
        return NoStorageError(
            f"the broker has no storage left for stream {name}, which reserves {room} MiB; "
            f"{await reserved.advice(client)}free disk space, or raise `max_file` of its `jetstream` settings"
        )
    if error.code == NO_PEERS:
        return MismatchError(
            f"stream {name} is to lie on {copies} servers, and the cluster has fewer that would take it "
            f"({error.description}); start the missing ones, free their disks, or set NATS_REPLICAS=1"
        )
    if error.code == REPLICAS_NEED_CLUSTER:
        return MismatchError(
            f"NATS_REPLICAS={copies}: this broker is a single server, and no cluster; `make nats-cluster` starts one "
            "on this machine; without NATS_REPLICAS the number follows the broker"
        )
    return error


async def ensure_consumer(client: BusClient, stream: str, config: dict[str, Any]) -> None:
    """Create the consumer, or find it as wanted. Raises MismatchError naming each differing value.

    `action: create`, because create-or-update silently moves an existing consumer's filter. Waits out an election.
    """
    name = config["name"]
    call = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
    try:
        await _ask(client, call, {"stream_name": stream, "config": config, "action": "create"})
    except JetStreamError as error:
        if error.code != CONSUMER_ALREADY_EXISTS:
            raise
        found = await _ask(client, f"CONSUMER.INFO.{stream}.{name}")
        _compare(f"consumer {name}", config, found["config"])


async def _ask(client: BusClient, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer of JetStream; in a cluster a question that met an election is soon put again."""
    timeout = TRY_S if client.cluster else TIMEOUT_S
    return await patiently(client, lambda: api(client, call, body, timeout=timeout))


def _by_settings(config: dict[str, Any]) -> dict[str, Any]:
    """A stream's configuration, where it is a model's queue with capacity and strategy by their names in the settings.

    Of the metadata only the strategy is ours: the server adds keys. What tells of stored jobs follows from it.
    """
    values = {key: value for key, value in config.items() if key not in ("metadata", "republish")}
    if not config["name"].startswith(subjects.job_stream("")):
        return values
    return values | {
        "QUEUE_CAPACITY": values.pop("max_msgs"),
        "INFERENCE_QUEUE_STRATEGY": (config.get("metadata") or {}).get(STRATEGY, FIFO),
    }


def _compare(what: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    other = [key for key, value in wanted.items() if found.get(key, 0 if isinstance(value, int) else None) != value]
    if not other:
        return
    differences = [f"{key}: this worker wants {wanted[key]!r}, the fleet has {found.get(key)!r}" for key in other]
    way = ""
    if "num_replicas" in other:
        way += f"; set NATS_REPLICAS={found.get('num_replicas')}, or change {what} with `nats stream edit --replicas`"
    ours = [key for key in other if key in QUEUE_SETTINGS]
    if ours:
        way += _change_queue(wanted["name"], " ".join(f"{key}={found[key]}" for key in ours))
    raise MismatchError(f"{what} exists with other values; " + "; ".join(differences) + way)


def _change_queue(stream: str, as_found: str) -> str:
    """How a worker takes the queue as it is, or the queue becomes what the worker wants."""
    return (
        f". Set {as_found}, or make the queue anew: stop all workers of the model, see that it is empty "
        f"(`golek req '$JS.API.STREAM.INFO.{stream}' '' --raw` says \"messages\":0; waiting jobs would be lost), "
        f"delete it with `golek req '$JS.API.STREAM.DELETE.{stream}' ''`, and start them again"
    )
