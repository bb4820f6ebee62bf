"""What the service counts, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "certigap_requests_total", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "certigap_request_seconds",
            "Until the first byte of the answer.",
            ["method", "route"],
            registry=self.registry,
        )
        self._jobs = Gauge("certigap_jobs", "Jobs by status.", ["status"], registry=self.registry)
        self._workers = Gauge("certigap_workers", "Workers seen in the last minute.", registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path's template, so that ids make no new series."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self, jobs: Mapping[str, int], workers: int) -> bytes:
        """Return everything as text, with the numbers of jobs by status and of workers as they are now."""
        for status, count in jobs.items():
            self._jobs.labels(status).set(count)
        self._workers.set(workers)
        return generate_latest(self.registry)
