"""The benchmark runs end to end; what it measures is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_the_benchmark_ends_with_one_line_of_json(tiny_folder: Path) -> None:
    stated = json.loads((tiny_folder / "linocut.json").read_text(encoding="utf-8"))
    folder = tiny_folder.parent / "tiny-that-draws-small"
    folder.mkdir()
    for part in tiny_folder.iterdir():
        if part.name != "linocut.json":
            (folder / part.name).symlink_to(part)
    small = json.dumps(stated | {"native_max_tokens": 16})
    (folder / "linocut.json").write_text(small, encoding="utf-8")
    ran = subprocess.run(
        [
            sys.executable, ROOT / "benchmarks" / "bench_engine.py", "--checkpoint", folder,
            "--steps", "1", "--pairs", "2", "--threads", "1", "--sizes", "64x64", "96x64",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    *table, last = ran.stdout.splitlines()
    report = json.loads(last)
    cases = report.pop("cases")
    assert report["steps"] == 1
    assert report["threads"] == 1
    assert set(report["versions"]) == {"torch", "diffusers", "transformers"}
    drawn = [(case["dtype"], case["grid"], *case["size"], *case["drawn"]) for case in cases]
    assert drawn == [
        (dtype, *rest)
        for dtype in ("float32", "bfloat16")
        for rest in (
            ("native", 64, 64, 64, 64),
            ("native", 96, 64, 80, 48),
            ("whole", 96, 64, 96, 64),
        )
    ]
    assert len(table) == 2 + len(cases)
    for case in cases:
        for who in ("linocut", "diffusers", "ratio"):
            for what in ("picture", "step"):
                spread = case[who][what]
                assert 0 < spread["least"] <= spread["median"] <= spread["most"]
        assert case["linocut"]["step"]["least"] <= case["linocut"]["picture"]["least"]
        assert case["floor_step"] > 0
    exact = [case for case in cases if case["dtype"] == "float32" and case["size"] == case["drawn"]]
    assert [case["largest_difference_of_255"] <= 1 for case in exact] == [True, True]
