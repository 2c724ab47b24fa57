"""What a run shows on a terminal, and that it shows nothing elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from linocut.cli.progress import Display, half_blocks, is_lively, shows_colours
from linocut.events import Decoding, Encoding, Event, Preview, Started, Step
from linocut.request import Picture

RUN: tuple[Event, ...] = (
    Started("linocut-mini", "exact", 256, 256, 4),
    Encoding(),
    *(Step(i, 4, 0.25, 75.0) for i in (1, 2, 3)),
    Decoding(),
)
SQUARE = Picture(2, 2, bytes((255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9)))


def terminal(**options: object) -> Console:
    chosen = {"force_terminal": True, "color_system": "truecolor", "width": 80, "height": 24}
    return Console(file=io.StringIO(), legacy_windows=False, **(chosen | options))


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_bar_says_where_it_is_and_how_fast() -> None:
    console = terminal(color_system=None)
    with Display(console, "Loading tiny") as display:
        for event in RUN:
            display.show(event)
            display._live.refresh()
    text = shown(console)
    for words in ("Loading tiny", "Reading the prompt", "Drawing", "Finishing"):
        assert words in text
    assert "step 3 of 4  0.25 s/step  1 min 15 s left" in text


def test_the_bar_is_gone_in_the_end() -> None:
    console = terminal()
    with Display(console, "Loading tiny") as display:
        display.show(RUN[0])
    assert shown(console).endswith("\x1b[2K")  # the line was erased
    assert "\x1b[?25h" in shown(console)  # and the cursor is back


def test_a_preview_is_shown_above_the_bar_and_goes_with_it() -> None:
    console = terminal()
    with Display(console, "Loading tiny") as display:
        display.show(RUN[0])
        display.show(Preview(1, SQUARE))
        display._live.refresh()
    assert "\x1b[38;2;255;0;0;48;2;0;0;255m▀" in shown(console)


def test_the_finished_picture_stays() -> None:
    console = terminal()
    with Display(console, "Loading tiny") as display:
        display.show(RUN[0])
        display.leave(SQUARE)
    assert "\x1b[38;2;0;255;0;48;2;9;9;9m▀" in shown(console)


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"_environ": {"TERM": "dumb"}}])
def test_nothing_is_shown_where_lines_cannot_be_drawn_over(options: dict[str, object]) -> None:
    console = terminal(**options)
    assert not is_lively(console)
    with Display(console, "Loading tiny") as display:
        for event in RUN:
            display.show(event)
    assert shown(console) == ""


def test_a_terminal_without_colours_shows_no_pictures() -> None:
    assert shows_colours(terminal())
    assert not shows_colours(terminal(color_system=None))
    assert not shows_colours(terminal(force_terminal=False))


def test_a_picture_becomes_half_blocks_that_fit() -> None:
    console = terminal()
    console.print(half_blocks(Picture(300, 100, bytes(90_000)), 48))
    lines = shown(console).split("\n")
    assert sum("▀" in line for line in lines) == 8
    assert lines[0].count("▀") == 48


def test_a_sliver_of_a_picture_is_still_shown() -> None:
    console = terminal()
    console.print(half_blocks(Picture(256, 1, bytes(768)), 48))
    assert "▀" in shown(console)
