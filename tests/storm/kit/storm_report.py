"""docs/reliability.md: the promises, how each is proven, and the figures of the last full storm."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
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
    "P7": "tests/server/test_hostile.py, test_schema_cases.py (both databases), test_body.py",
    "P14": "tests/images/test_fetch.py, test_fetch_inside.py, test_addresses.py",
    "P15": "tests/images/test_guard_bombs.py, test_guard.py",
    "P16": "tests/images/test_store.py, test_keys.py",
    "P17": "tests/images/test_signing.py, tests/server/routes/test_files.py",
    "P19": "tests/server/routes",
    "P22": "tests/jobs/migrations, tests/jobs/test_migrate.py",
}
Figures = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Kept:
    """What all parts of a storm have shown: what was seen on which day, and each day's machines."""

    figures: dict[tuple[str, str], tuple[str, str]]
    machines: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, file: Path) -> Kept:
        """What earlier parts left in a file; nothing if there was none."""
        if not file.exists():
            return cls({}, {})
        found = json.loads(file.read_text(encoding="utf-8"))
        figures = {(promise, where): (text, day) for promise, where, text, day in found["figures"]}
        return cls(figures, {day: tuple(used) for day, used in found["machines"].items()})

    def write(self, file: Path) -> None:
        """Leave it for the next part."""
        rows = [[*which, *figure] for which, figure in self.figures.items()]
        found = {"figures": rows, "machines": self.machines}
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")


def machine() -> str:
    """What the figures of today were measured on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = names[0] if names else platform.processor() or platform.machine()
    return (
        f"processor {processor}, cores {usable}, system {platform.system()} {platform.release()}, "
        f"python {platform.python_version()}"
    )


def page(kept: Kept, column: str) -> str:
    """The whole page; of days from which no figure is left, no machine is named."""
    days = {day for _, day in kept.figures.values()}
    machines = [(day, used) for day, used in sorted(kept.machines.items()) if day in days]
    lines = [
        "# Reliability",
        "",
        "Written by `make storm`; not by hand. A client under load logs every call and every "
        "answer; one checker compares that log with the database and the stored pictures.",
        "",
        f"Sizes: {column} (tests/storm/kit/storm_sizes.py). Measured on",
        *(f"- {day}: {facts}" for day, used in machines for facts in used),
        "",
        "| | promise | on | what was seen | when |",
        "|---|---|---|---|---|",
    ]
    for promise, words in PROMISES.items():
        measured = [(where, *seen) for (one, where), seen in kept.figures.items() if one == promise]
        for where, text, day in sorted(measured):
            lines.append(f"| {promise} | {words} | {where} | {text} | {day} |")
        if promise in ELSEWHERE:
            lines.append(
                f"| {promise} | {words} | every run of the tests | {ELSEWHERE[promise]} | |"
            )
        elif not measured:
            lines.append(f"| {promise} | {words} | | not measured in this run | |")
    return "\n".join(lines) + "\n"


def write(figures: Figures, column: str, kept: Path = KEPT, target: Path = PAGE) -> None:
    """The page is on the disk; a storm may come in parts, whose figures add up in `kept`."""
    before, today = Kept.read(kept), f"{datetime.now(UTC):%Y-%m-%d}"
    news = {which: (text, today) for which, text in figures.items()}
    used = dict.fromkeys((*before.machines.get(today, ()), machine()))
    whole = Kept(before.figures | news, before.machines | {today: tuple(used)})
    whole.write(kept)
    target.write_text(page(whole, column), encoding="utf-8")
