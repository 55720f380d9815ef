"""GET /metrics: what can be measured here?

Requests are counted as they end; what is true of the moment, queues and slots and engines, is read from what workers
say when somebody scrapes. The registry is our own: vLLM and others use the library's.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_client.fleet import Replica
from golek_program.web.described import describe
from golek_wire import metrics as names
from golek_wire.errors import STATUS
from golek_worker.gateway.door import Door, Visit
from golek_worker.gateway.readiness import Ready
from golek_worker.traffic import REFUSED, Tally

NAMES_LIMIT: Final = 1000
"""So many keys, and so many models, have a row of their own; what comes later is counted together as `other`."""
OTHER: Final = "other"
NO_ROUTE: Final = "none"
ASKING: Final = ("POST", "PROMPT")
"""Methods that ask something of a model; the second one is Socket.IO's."""


class Meters:
    """Counts visits."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.registry = CollectorRegistry()
        self.registry.register(_Moment(door, self))
        self.tally = Tally()
        """What this gateway tells of itself on the bus: requests that ask something of a model, and what it refused
        itself, whatever was asked.
        """
        self._open: dict[int, Visit] = {}
        self._models: set[str] = set()
        self._keys: set[str] = set()
        self._requests = _Family(self._counter(names.REQUESTS).labels)
        self._errors = _Family(self._counter(names.ERRORS).labels)
        self._tokens = _Family(self._counter(names.TOKENS).labels)
        self._cost = _Family(self._counter(names.COST_USD).labels)
        self._cached = _Family(self._counter(names.CACHED).labels)
        self._seconds = _Family(self._histogram(names.REQUEST_SECONDS).labels)
        self._ttft = _Family(self._histogram(names.TTFT_SECONDS).labels)
        self._gaps = _Family(self._histogram(names.INTER_TOKEN_SECONDS).labels)

    @contextlib.contextmanager
    def open(self, visit: Visit) -> Iterator[None]:
        """While inside, a request is being answered; it is counted at the end."""
        self._open[id(visit)] = visit
        try:
            yield
        finally:
            del self._open[id(visit)]
            self._count(visit)
            self._add(visit)

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return len(self._open)

    @property
    def open_streams(self) -> int:
        """Of them: streams."""
        return sum(visit.streamed for visit in self._open.values())

    def _count(self, visit: Visit) -> None:
        now = time.perf_counter()
        model = self._model(visit)
        route = visit.route or NO_ROUTE
        self._requests.of(model, route, str(visit.status), self._key(visit)).inc()
        self._seconds.of(route).observe(now - visit.started)
        if visit.code:
            self._errors.of(visit.code).inc()
        if visit.tokens_in:
            self._tokens.of(model, "in").inc(visit.tokens_in)
        if visit.tokens_out:
            self._tokens.of(model, "out").inc(visit.tokens_out)
        if visit.cost_usd:
            self._cost.of(model, visit.provider).inc(visit.cost_usd)
        if visit.cache:
            self._cached.of(model, visit.cache).inc()
        if visit.streamed and visit.first_at:
            self._ttft.of(model).observe(visit.first_at - visit.started)
            if visit.tokens_out > 1:
                self._gaps.of(model).observe((now - visit.first_at) / (visit.tokens_out - 1))

    def _add(self, visit: Visit) -> None:
        """Count a visit among what is told on the bus.

        1. refused by who asked, before any worker was: by this gateway 2. no question to a model: health, lists, pages
        3. an error, also of a stream that had begun 4. an answer
        """
        tally = self.tally
        if visit.status in REFUSED and not visit.model:  # 1
            tally.refuse(visit.status, visit.caller.principal if visit.caller is not None else "")
        elif visit.method not in ASKING:  # 2
            return
        elif visit.code or visit.status >= 400:  # 3
            tally.fail(_status(visit))
        else:  # 4
            tally.answer((time.perf_counter() - visit.started) * 1000)
        tally.tokens(visit.tokens_in, visit.tokens_out)
        tally.cost(visit.cost_usd)

    def written(self) -> bytes:
        """All metrics, in Prometheus' text form."""
        return generate_latest(self.registry)

    def _model(self, visit: Visit) -> str:
        """The model's name, where there is such a model: callers may name anything."""
        model = visit.model
        if not model or model in self._models:
            return model
        exists = visit.status < 400 or self._door.watch.view.knows(model)
        return _limited(model, self._models) if exists else OTHER

    def _key(self, visit: Visit) -> str:
        return _limited(visit.caller.principal, self._keys) if visit.caller is not None else ""

    def _counter(self, about: names.Metric) -> Counter:
        return Counter(about.name, about.help, about.labels, registry=self.registry)

    def _histogram(self, about: names.Metric) -> Histogram:
        return Histogram(about.name, about.help, about.labels, buckets=about.buckets, registry=self.registry)


def _status(visit: Visit) -> int:
    """What the visit ended in, by its error where the response had begun well."""
    known = STATUS.get(visit.code)
    return known.http if known is not None else visit.status


class _Family(dict[tuple[str, ...], Any]):
    """The children of one metric: looking them up in the library costs four times as much."""

    def __init__(self, labels: Callable[..., Any]) -> None:
        super().__init__()
        self._labels = labels

    def of(self, *values: str) -> Any:
        return self[values]

    def __missing__(self, values: tuple[str, ...]) -> Any:
        child = self[values] = self._labels(*values)
        return child


def _limited(name: str, known: set[str]) -> str:
    if name not in known:
        if len(known) >= NAMES_LIMIT:
            return OTHER
        known.add(name)
    return name


class _Moment(Collector):
    """What is true now."""

    def __init__(self, door: Door, meters: Meters) -> None:
        self._door = door
        self._meters = meters
        self._process = psutil.Process()

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield _gauge(names.OPEN_REQUESTS, [((), self._meters.open_requests)])
        yield _gauge(names.OPEN_STREAMS, [((), self._meters.open_streams)])
        yield _gauge(names.RSS_BYTES, [((), self._process.memory_info().rss)])
        yield _gauge(names.READY, [((), isinstance(self._door.ready(), Ready))])
        models = self._door.watch.models()
        yield _gauge(names.MODEL_UP, [((one.name,), one.takes_requests) for one in models])
        yield _gauge(names.REPLICAS, [((one.name,), len(one.replicas)) for one in models])
        yield _gauge(names.QUEUE_PENDING, [((one.name,), one.pending) for one in models])
        yield _gauge(names.QUEUE_CAPACITY, [((one.name,), one.capacity) for one in models])
        replicas = [replica for one in models for replica in one.replicas]
        for about, figure in _OF_REPLICAS:
            found = [((one.model, one.worker_id), figure(one)) for one in replicas]
            yield _gauge(about, [(labels, value) for labels, value in found if value is not None])


def _of_stats(field: str, scale: float = 1.0) -> Callable[[Replica], float | None]:
    def figure(replica: Replica) -> float | None:
        value = getattr(replica.stats, field, None)
        return None if value is None else value * scale

    return figure


_OF_REPLICAS: Final[tuple[tuple[names.Metric, Callable[[Replica], float | None]], ...]] = (
    (names.SLOTS, lambda one: one.slots),
    (names.SLOTS_BUSY, lambda one: one.active),
    (names.STALLED, lambda one: one.is_stalled),
    (names.CACHE_HIT_RATIO, _of_stats("prefix_hit_rate")),
    (names.KV_USE, _of_stats("kv_use")),
    (names.TOKENS_PER_SECOND, _of_stats("tokens_per_s")),
    (names.ENGINE_TTFT_SECONDS, _of_stats("ttft_ms_p50", 0.001)),
    (names.ENGINE_ITL_SECONDS, _of_stats("itl_ms_p50", 0.001)),
)


def _gauge(about: names.Metric, values: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(about.name, about.help, labels=about.labels)
    for labels, value in values:
        family.add_metric(labels, float(value))
    return family


def routes(meters: Meters) -> list[Route]:
    """GET /metrics of these meters."""

    @describe(group="Health", summary="Figures for Prometheus.", reply=str, media="text/plain")
    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(meters.written(), headers={"content-type": CONTENT_TYPE_PLAIN_1_0_0})

    return [Route("/metrics", metrics, methods=["GET"])]
