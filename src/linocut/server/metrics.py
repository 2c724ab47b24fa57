"""What Prometheus may read, in base units; no label tells whose anything was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from linocut.jobs.tally import Ended

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
QUICK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
SLOW: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Metrics:
    """One server's numbers, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    durations: Histogram = field(init=False)
    jobs: Counter = field(init=False)
    depth: Gauge = field(init=False)
    waits: Histogram = field(init=False)
    runs: Histogram = field(init=False)
    engines: Gauge = field(init=False)
    steps: Histogram = field(init=False)
    leases_lost: Counter = field(init=False)
    stored: Counter = field(init=False)
    held: Gauge = field(init=False)

    def __post_init__(self) -> None:
        own = self.registry
        made = {
            "requests": Counter(
                "http_requests", "Answers.", ("method", "route", "status"), registry=own
            ),
            "durations": Histogram(
                "http_request_duration_seconds", "From a request's head to its answer's end.",
                ("method", "route"), buckets=QUICK, registry=own,
            ),
            "jobs": Counter("jobs", "Records that ended.", ("state",), registry=own),
            "depth": Gauge("job_queue_depth", "Records that wait.", registry=own),
            "waits": Histogram(
                "job_queue_wait_seconds", "From acceptance to the last run.",
                buckets=SLOW, registry=own,
            ),
            "runs": Histogram(
                "job_run_seconds", "What a run took of a worker.", buckets=SLOW, registry=own
            ),
            "engines": Gauge("engine_up", "1: the worker can draw.", ("worker",), registry=own),
            "steps": Histogram(
                "engine_step_seconds", "One denoising step, on a run's average.", buckets=QUICK,
                registry=own,
            ),
            "leases_lost": Counter(
                "lease_lost", "Runs whose record was given to another.", registry=own
            ),
            "held": Gauge(
                "held_bytes", "Bodies and pictures of callers that are held now.", registry=own
            ),
            "stored": Counter("assets_bytes", "Bytes of pictures drawn and stored.", registry=own),
        }  # fmt: skip
        for name, metric in made.items():
            object.__setattr__(self, name, metric)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP answer ended. route: its template, never its path."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.durations.labels(method, route).observe(seconds)

    def ended(self, one: Ended) -> None:
        """A record ended."""
        self.jobs.labels(one.state).inc()
        self.stored.inc(one.stored)
        if one.waited is not None:
            self.waits.observe(one.waited)
        if one.ran > 0:
            self.runs.observe(one.ran)
        if one.per_step is not None:
            self.steps.observe(one.per_step)

    def page(self) -> bytes:
        """The whole in Prometheus' text format."""
        return generate_latest(self.registry)
