"""Metrics by their agreed names, in base units, without anybody's name."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from linocut.jobs.tally import Ended
from linocut.server.metrics import Metrics

NAMES = {
    "http_requests": "counter",
    "http_request_duration_seconds": "histogram",
    "jobs": "counter",
    "job_queue_depth": "gauge",
    "job_queue_wait_seconds": "histogram",
    "job_run_seconds": "histogram",
    "engine_up": "gauge",
    "engine_step_seconds": "histogram",
    "lease_lost": "counter",
    "assets_bytes": "counter",
    "held_bytes": "gauge",
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample on the page."""
    families = text_string_to_metric_families(metrics.page().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_page_has_the_agreed_names() -> None:
    families = text_string_to_metric_families(Metrics().page().decode())
    found = {family.name: family.type for family in families}
    assert {name: kind for name, kind in found.items() if not name.endswith("_created")} == NAMES


def test_an_answer_is_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.answered("GET", "/api/records/{uuid}", 200, 0.02)
    metrics.answered("GET", "/api/records/{uuid}", 200, 0.02)
    found = samples(metrics)
    where = (("method", "GET"), ("route", "/api/records/{uuid}"))
    assert found["http_requests_total", (*where, ("status", "200"))] == 2
    assert found["http_request_duration_seconds_count", where] == 2


def test_invented_methods_make_no_new_series() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.answered(f"M{number}", "(none)", 405, 0.0)
    where = (("method", "other"), ("route", "(none)"), ("status", "405"))
    assert samples(metrics)["http_requests_total", where] == 50


def test_a_record_that_ended_is_counted_by_its_state() -> None:
    metrics = Metrics()
    metrics.ended(Ended(id="1", state="SUCCESS", waited=1.5, ran=2.5, per_step=0.25, stored=700))
    metrics.ended(Ended(id="2", state="CANCELED", waited=None, ran=0.0, per_step=None, stored=0))
    found = samples(metrics)
    assert found["jobs_total", (("state", "SUCCESS"),)] == 1
    assert found["jobs_total", (("state", "CANCELED"),)] == 1
    assert found["job_queue_wait_seconds_sum", ()] == 1.5
    assert found["job_run_seconds_count", ()] == 1
    assert found["engine_step_seconds_sum", ()] == 0.25
    assert found["assets_bytes_total", ()] == 700


def test_two_servers_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.answered("GET", "/", 200, 0.1)
    assert samples(one) != samples(other)
