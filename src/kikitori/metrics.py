"""What the server counts of itself, for Prometheus. Every name begins with ``kikitori_``.

The parts call small verbs; nothing here imports them. A ``Metrics`` is cheap, has a registry of
its own, and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]
# A time of birth beside each counter doubles what is scraped, and restarts show all the same.

WAIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0)
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
REAL_TIME_FACTORS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace="kikitori", registry=self.registry)
        self._make_request_metrics()
        self._make_inference_metrics()
        self._make_audio_metrics()
        self._make_live_metrics()
        self._make_reply_metrics()
        self._callback_attempts = Counter(
            "kikitori_callback_attempts",
            "Attempts to deliver callbacks: delivered, pending (tried again later), failed (given up).",
            ["outcome"],
            registry=self.registry,
        )

    def _make_request_metrics(self) -> None:
        self._requests = Counter(
            "kikitori_requests",
            "HTTP requests answered, by route and status; 499: the client went away.",
            ["route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "kikitori_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ["route"],
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self._requests_running = Gauge(
            "kikitori_requests_running", "HTTP requests that run now.", registry=self.registry
        )

    def _make_inference_metrics(self) -> None:
        self._queue_wait = Histogram(
            "kikitori_queue_wait_seconds",
            "Seconds a call waited for its batch.",
            ["priority"],
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "kikitori_batch_size",
            "Calls merged into one, by kind of call.",
            ["kind"],
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "kikitori_batch_seconds",
            "Seconds one merged call took, by kind of call.",
            ["kind"],
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )

    def _make_audio_metrics(self) -> None:
        self._audio_seconds = Counter(
            "kikitori_audio_seconds", "Seconds of audio transcribed.", ["model"], registry=self.registry
        )
        self._decode_seconds = Counter(
            "kikitori_decode_seconds",
            "Seconds spent on that audio, waiting included.",
            ["model"],
            registry=self.registry,
        )
        self._real_time_factor = Histogram(
            "kikitori_real_time_factor",
            "Seconds spent for a second of audio, one observation a recording; below 1 is faster than real time.",
            ["model"],
            buckets=REAL_TIME_FACTORS,
            registry=self.registry,
        )

    def _make_live_metrics(self) -> None:
        self._live_sessions = Gauge("kikitori_live_sessions", "Live sessions that are open.", registry=self.registry)
        self._live_wait = Histogram(
            "kikitori_live_wait_seconds",
            "Seconds a live session waited for its turn to decode: interim, speculative, final.",
            ["kind"],
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )
        self._live_decode = Histogram(
            "kikitori_live_decode_seconds",
            "Seconds a decoding of a live session took: interim, speculative, final.",
            ["kind"],
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )

    def _make_reply_metrics(self) -> None:
        self._replies = Counter(
            "kikitori_replies",
            "Replies in conversations: done, failed, stopped (by the client, or because somebody spoke).",
            ["outcome"],
            registry=self.registry,
        )
        self._reply_sound = Histogram(
            "kikitori_reply_first_sound_seconds",
            "Seconds from the moment a reply was wanted to its first sound.",
            buckets=WAIT_SECONDS,
            registry=self.registry,
        )

    def request_began(self) -> None:
        self._requests_running.inc()

    def request_ended(self, route: str, status: int, seconds: float) -> None:
        """``route`` is the template (``/v1/models/{model}``), never a path that a client made up."""
        self._requests_running.dec()
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def call_waited(self, priority: str, seconds: float) -> None:
        """A call leaves the queue in a batch."""
        self._queue_wait.labels(priority).observe(seconds)

    def batch_ran(self, kind: str, size: int, seconds: float) -> None:
        self._batch_size.labels(kind).observe(size)
        self._batch_seconds.labels(kind).observe(seconds)

    def watch_pool(self, waiting: Callable[[], Mapping[str, int]], models: Callable[[], Mapping[str, int]]) -> None:
        """Ask at every scrape: calls that wait, by priority; memory of the loaded models, by name."""
        self.registry.register(_PoolCollector(waiting, models))

    def transcribed(self, audio_seconds: float, wall_seconds: float, model: str) -> None:
        """A recording is finished."""
        self._audio_seconds.labels(model).inc(audio_seconds)
        self._decode_seconds.labels(model).inc(wall_seconds)
        if audio_seconds > 0:
            self._real_time_factor.labels(model).observe(wall_seconds / audio_seconds)

    def live_sessions(self, count: int) -> None:
        self._live_sessions.set(count)

    def live_decoded(self, kind: str, waited: float, took: float) -> None:
        self._live_wait.labels(kind).observe(waited)
        self._live_decode.labels(kind).observe(took)

    def replied(self, outcome: str) -> None:
        self._replies.labels(outcome).inc()

    def reply_sounded(self, seconds: float) -> None:
        self._reply_sound.observe(seconds)

    def callback_tried(self, outcome: str) -> None:
        self._callback_attempts.labels(outcome).inc()

    def render(self) -> tuple[bytes, str]:
        """All values in Prometheus' text format, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _PoolCollector(Collector):
    """What is known only when asked: a queue's depth now, the models in memory now."""

    def __init__(self, waiting: Callable[[], Mapping[str, int]], models: Callable[[], Mapping[str, int]]) -> None:
        self._waiting, self._models = waiting, models

    def describe(self) -> Iterable[Metric]:
        return []  # otherwise registering would already ask

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("kikitori_queue_depth", "Calls that wait for a batch now.", labels=["priority"])
        for priority, count in self._waiting().items():
            depth.add_metric([priority], count)
        memory = GaugeMetricFamily("kikitori_model_memory_bytes", "Memory a loaded model takes.", labels=["model"])
        models = self._models()
        for model, taken in models.items():
            memory.add_metric([model], taken)
        yield depth
        yield memory
        yield GaugeMetricFamily("kikitori_loaded_models", "Models in memory.", value=len(models))
