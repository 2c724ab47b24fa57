"""The checker finds every broken promise that is planted, and none where none is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Row
from typing import Any

import pytest
from storm_check import World, faults
from storm_client import Call, History
from storm_report import ELSEWHERE, PAGE, PROMISES, Kept, page, write

FILE = Row(key="a.jpg", sha256="ab", record_id="one")
ENDED = Row(id="one", state="SUCCESS", attempt=1, result_keys=["a.jpg"])
STORY = [Row(seq=1, kind="queued"), Row(seq=2, kind="completed")]
WHOLE = World(
    records={"one": ENDED}, events={"one": STORY}, files={"one": [FILE]}, keys={"k": "one"},
    pictures={"a.jpg": "ab"},
)  # fmt: skip


def told(**said: Any) -> Call:
    """A call that created the record."""
    plain = {"at": 0.0, "what": "create", "status": 200, "uuid": "one", "key": "k"}
    return Call(**(plain | said))


def test_where_all_is_kept_nothing_is_found() -> None:
    history = History(
        [told(), told(what="look", key="", state="SUCCESS")], {"one": [(1, "queued")]}
    )
    assert faults(history, WHOLE) == []


@pytest.mark.parametrize(
    ("word", "world"),
    [
        ("lost", replace(WHOLE, records={})),
        ("stuck", replace(WHOLE, records={"one": Row(**{**vars(ENDED), "state": "PROCESSING"})})),
        ("ended otherwise", replace(WHOLE, events={"one": [*STORY, Row(seq=3, kind="failed")]})),
        ("gap", replace(WHOLE, events={"one": [STORY[1]]})),
        ("afterwards", replace(WHOLE, events={"one": [*STORY, Row(seq=3, kind="progress")]})),
        ("files", replace(WHOLE, files={"one": [FILE, FILE]})),
        ("bytes", replace(WHOLE, pictures={"a.jpg": "cd"})),
        ("orphan", replace(WHOLE, pictures={"a.jpg": "ab", "b.jpg": "cd"})),
        ("doubled", replace(WHOLE, keys={"k": "two"})),
        ("forgotten", replace(WHOLE, keys={})),
    ],
)
def test_a_world_that_breaks_a_promise_is_found(word: str, world: World) -> None:
    assert any(fault.startswith(word) for fault in faults(History([told()]), world))


@pytest.mark.parametrize(
    ("word", "call"),
    [
        ("malformed", told(is_whole=False)),
        ("server error", told(status=500)),
        ("no Retry-After", told(status=503)),
        ("stale", told(state="CANCELED")),
    ],
)
def test_an_answer_that_breaks_a_promise_is_found(word: str, call: Call) -> None:
    assert any(fault.startswith(word) for fault in faults(History([call]), WHOLE))


def test_a_stream_that_tells_what_never_was_is_found() -> None:
    (found,) = faults(History(stories={"one": [(2, "failed")]}), WHOLE)
    assert found.startswith("stream")


def test_the_page_has_every_promise_with_its_figures_or_its_place() -> None:
    seen = {("P1", "SQLite, folder"): ("0 lost", "2026-11-24")}
    machines = {"2026-11-23": ("processor W",), "2026-11-24": ("processor X", "processor Y")}
    text = page(Kept(seen, machines), "full")
    row = "| P1 | an acknowledged request is never lost | SQLite, folder | 0 lost | 2026-11-24 |"
    assert row in text
    assert "- 2026-11-24: processor X\n- 2026-11-24: processor Y\n" in text
    assert "2026-11-23" not in text, "no figure is of that day"
    for promise in PROMISES:
        assert f"| {promise} |" in text
    for place in ELSEWHERE.values():
        assert place in text


def test_a_storm_may_come_in_parts_and_each_figure_keeps_its_day(tmp_path) -> None:
    kept, target = tmp_path / "build" / "storm.json", tmp_path / "reliability.md"
    day = "2020-02-02"
    seen = {("P1", "A"): ("old", day), ("P2", "A"): ("stays", day)}
    Kept(seen, {day: ("machine Y", "machine Z")}).write(kept)
    write({("P1", "A"): "new"}, "full", kept, target)
    text = target.read_text(encoding="utf-8")
    assert f"| A | stays | {day} |" in text
    assert "| A | new | " in text
    assert "| old |" not in text
    assert f"- {day}: machine Y\n- {day}: machine Z\n" in text
    found = Kept.read(kept)
    assert found.figures[("P2", "A")] == ("stays", day)
    assert sum(map(len, found.machines.values())) == 3


def test_a_part_on_another_machine_of_the_same_day_is_told(tmp_path, monkeypatch) -> None:
    kept, target = tmp_path / "storm.json", tmp_path / "reliability.md"
    for name in ("machine Y", "machine Z", "machine Y"):
        monkeypatch.setattr("storm_report.machine", lambda name=name: name)
        write({("P1", "A"): name}, "full", kept, target)
    told = [line for line in target.read_text(encoding="utf-8").splitlines() if line[:2] == "- "]
    assert [line.partition(": ")[2] for line in told] == ["machine Y", "machine Z"]


def read_back(text: str) -> Kept:
    """What a page says."""
    figures, machines = {}, {}
    for line in text.splitlines():
        if line.startswith("- "):
            day, _, facts = line[2:].partition(": ")
            machines[day] = (*machines.get(day, ()), facts)
        elif line.startswith("| P"):
            promise, _, where, seen, day = (cell.strip() for cell in line[1:-1].split("|"))
            figures |= {(promise, where): (seen, day)} if day else {}
    return Kept(figures, machines)


def test_the_page_is_one_that_a_storm_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    kept = read_back(text)
    assert page(kept, "full") == text
    assert all(facts.startswith("processor ") for used in kept.machines.values() for facts in used)
