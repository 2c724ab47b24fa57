"""The benchmark runs end to end, and its test of ranks is the known one; times are not judged."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
mann_whitney = runpy.run_path(str(ROOT / "benchmarks" / "ranks.py"))["mann_whitney"]


def test_the_benchmark_ends_with_one_line_of_json() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_keys.py", "--work", "30", "--refusals", "10"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    *table, last = ran.stdout.splitlines()
    rows = json.loads(last)["rows"]
    assert len(table) == 2 + len(rows)
    pairs = [["unknown", "wrong"], ["unknown", "revoked"], ["wrong", "revoked"]]
    assert [(row["part"], row["pair"], row["count"]) for row in rows] == [
        *(("work", pair, 30) for pair in pairs),
        *(("refusal", pair, 10) for pair in pairs),
    ]
    for row in rows:
        assert 0 <= row["p"] <= 1
        assert 0 <= row["longer"] <= 1
        assert row["kept"] is (row["part"] == "work" or row["p"] > row["above"])
        assert all(p50 > 0 for p50 in row["p50"].values())


@pytest.mark.parametrize(
    ("ones", "others", "longer", "p"),
    [
        # scipy's own example, from Ghent University: ages at which diabetes was found.
        ([19, 22, 16, 29, 24], [20, 11, 17, 12], 17 / 20, 0.11134688653314041),
        # By hand: U = 2.5 of 16; variance 16/12 * (9 - (24 + 6)/56) = 11.2857; z = 5/3.3594.
        ([1, 2, 2, 3], [2, 3, 4, 5], 2.5 / 16, 0.1366582477381475),
        ([1, 1], [1, 1, 1], 0.5, 1.0),
        (range(100), range(100, 200), 0.0, 2.5618e-34),
    ],
    ids=["published", "ties", "all alike", "apart"],
)
def test_ranks_are_compared_as_mann_and_whitney_did(
    ones: list[int], others: list[int], longer: float, p: float
) -> None:
    assert mann_whitney(ones, others) == pytest.approx((longer, p), rel=1e-4)
    assert mann_whitney(others, ones) == pytest.approx((1 - longer, p), rel=1e-4)
