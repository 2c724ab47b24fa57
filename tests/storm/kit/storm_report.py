"""docs/reliability.md: the promises, how each is proven, and the figures of the last full storm."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "reliability.md"
KEPT: Final = ROOT / "build" / "storm.json"
PROMISES: Final = {
    "P1": "an acknowledged request is never lost",
    "P2": "each record ends once, with one result",
    "P3": "a finished record's picture is there, byte for byte",
    "P4": "a server that lost its lease cannot write",
    "P5": "the same Idempotency-Key leads to the same record",
    "P6": "canceled is final",
    "P7": "malformed input is no server error",
    "P8": "overload is refused, not suffered",
    "P9": "a server that leaves loses nothing",
    "P10": "a database that is away loses nothing",
    "P11": "a full disk repeats no run",
    "P12": "a worker may crash, hang or run out of memory",
    "P13": "event streams resume",
    "P14": "fetching reaches public addresses only",
    "P15": "image bombs are refused",
    "P16": "no key leads out of the picture folder",
    "P17": "links cannot be forged",
    "P18": "keys cannot be guessed, and leak nowhere",
    "P19": "nobody sees another's work",
    "P20": "slow clients harm nobody",
    "P21": "nothing leaks",
    "P22": "upgrades keep every record",
    "P23": "webhooks arrive",
    "P24": "metrics equal the database",
}
ELSEWHERE: Final = {
    "P7": "tests/server/test_hostile.py, tests/server/test_body.py",
    "P14": "tests/images/test_fetch.py, test_fetch_inside.py, test_addresses.py",
    "P15": "tests/images/test_guard_bombs.py, test_guard.py",
    "P16": "tests/images/test_store.py, test_keys.py",
    "P17": "tests/images/test_signing.py, tests/server/routes/test_files.py",
    "P19": "tests/server/routes",
    "P22": "tests/jobs/migrations, tests/jobs/test_migrate.py",
}
Figures = dict[tuple[str, str], str]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(usable),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def page(figures: Figures, column: str) -> str:
    """The whole page."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines = [
        "# Reliability",
        "",
        "Written by `make storm`; not by hand. A client under load logs every call and every "
        "answer; one checker compares that log with the database and the stored pictures.",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d}: {facts}. Sizes: {column} "
        "(tests/storm/kit/storm_sizes.py).",
        "",
        "| | promise | on | what was seen |",
        "|---|---|---|---|",
    ]
    for promise, words in PROMISES.items():
        measured = [(where, text) for (one, where), text in figures.items() if one == promise]
        for where, text in sorted(measured):
            lines.append(f"| {promise} | {words} | {where} | {text} |")
        if promise in ELSEWHERE:
            lines.append(f"| {promise} | {words} | every run of the tests | {ELSEWHERE[promise]} |")
        elif not measured:
            lines.append(f"| {promise} | {words} | | not measured in this run |")
    return "\n".join(lines) + "\n"


def write(figures: Figures, column: str, kept: Path = KEPT) -> None:
    """The page is on the disk; a storm may come in parts, whose figures add up in `kept`."""
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    all_figures = {(promise, where): text for promise, where, text in rows} | figures
    kept.parent.mkdir(exist_ok=True)
    rows = [[promise, where, text] for (promise, where), text in all_figures.items()]
    kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    PAGE.write_text(page(all_figures, column), encoding="utf-8")
