"""The benchmark runs end to end; what it measures is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / "benchmarks" / "bench_service.py"
TIMES = ("ms", "s")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The benchmark at its end."""
    surroundings = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, BENCHMARK, *words],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def report(*words: str | Path) -> tuple[list[str], dict[str, Any]]:
    """The table's lines, and the line of JSON."""
    ran = run("--quick", *words)
    assert ran.returncode == 0, ran.stderr
    *table, last = ran.stdout.splitlines()
    return table, json.loads(last)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may pass; pytest's are for nobody else."""
    with tempfile.TemporaryDirectory(prefix="linocut-bench-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder


@pytest.mark.timeout(900)
def test_the_benchmark_ends_with_one_line_of_json(folder: Path) -> None:
    table, said = report("--folder", folder)
    rows = said["rows"]
    assert len(table) == 2 + len(rows)
    assert [row["what"] for row in rows] == [
        "added to a call around the checkpoint",
        "added to a call around a fake worker",
        "accepted on sqlite, while a long picture is drawn",
        "accepted on sqlite, while pictures are drawn",
        "accepted on postgresql, while a long picture is drawn",
        "accepted on postgresql, while pictures are drawn",
        "refused on sqlite, p99",
        "refused on postgresql, p99",
        "memory at rest",
        "memory after 24 calls",
        "memory after 2 uploads of 5 MB too",
        "libraries in it that draw",
        "start on a new folder",
        "start on the same again",
    ]
    for row in rows:
        assert row["figure"] > 0 or row["what"] == "libraries in it that draw"
        assert all(value >= 0 for value in row["beside"].values())
        if row["unit"] in TIMES:
            assert 0 < row["spread"]["p50"] <= row["spread"]["p99"] <= row["spread"]["most"]
    assert rows[0]["spread"]["count"] == said["calls"] == 4
    assert rows[0]["beside"]["worker"] > rows[1]["beside"]["worker"]
    assert rows[11]["names"] == []
    assert not list(folder.iterdir())


def test_a_part_can_be_run_alone(tmp_path: Path) -> None:
    table, said = report("refused", "--databases", "sqlite", "--folder", tmp_path)
    assert [row["part"] for row in said["rows"]] == ["refused"]
    assert len(table) == 3


def test_an_unknown_part_is_refused_by_name() -> None:
    ran = run("speed")
    assert ran.returncode == 2
    assert "no such part: speed; use added, accepted" in ran.stderr
