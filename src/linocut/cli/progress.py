"""A run as seen on a terminal: a bar with its pace, and the picture as it forms above it.

Where standard error is no terminal nothing is shown at all.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from PIL import Image
from rich.color import Color
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.style import Style
from rich.text import Text

from linocut.cli.say import duration
from linocut.events import Decoding, Encoding, Event, Preview, Started, Step
from linocut.request import Picture

PREVIEW_COLUMNS: Final = 48
_UPPER_HALF: Final = "▀"


def is_lively(console: Console) -> bool:
    """Whether it is a terminal whose lines can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


def shows_colours(console: Console) -> bool:
    """Whether a picture made of coloured characters would be one."""
    return is_lively(console) and console.color_system is not None


class Display:
    """The bar of one run; use it as a context manager and `show` it the events."""

    def __init__(self, console: Console, doing: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[pace]}"),
            console=console,
        )
        self._task = self._bar.add_task(doing, total=None, pace="")
        self._live = Live(self._bar, console=console, transient=True, refresh_per_second=8)
        self._picture: Picture | None = None
        self._console = console

    def __enter__(self) -> Self:
        if is_lively(self._console):
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Draw what has changed."""
        match event:
            case Started(steps=steps):
                self._bar.update(self._task, total=max(steps, 1))
            case Encoding():
                self._bar.update(self._task, description="Reading the prompt")
            case Step(i=i, n=n, seconds=seconds, left=left):
                pace = f"step {i} of {n}  {seconds:.2f} s/step  {duration(left)} left"
                self._bar.update(self._task, description="Drawing", completed=i, pace=pace)
            case Preview(picture=picture):
                self._live.update(Group(half_blocks(picture, self._columns()), self._bar))
            case Decoding():
                self._bar.update(self._task, description="Finishing", pace="")

    def leave(self, picture: Picture) -> None:
        """The finished picture, to stay on the terminal where the previews were."""
        self._live.update(self._bar)
        self._console.print(half_blocks(picture, self._columns()), end="")

    def _columns(self) -> int:
        """As wide as fits, with room for the bar below."""
        return max(2, min(PREVIEW_COLUMNS, self._console.width, 2 * (self._console.height - 3)))


def half_blocks(picture: Picture, columns: int) -> RenderableType:
    """The picture in characters that show one pixel above another, at most `columns` a side."""
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    image.thumbnail((columns, columns))
    width, rows = image.width, max(2, image.height // 2 * 2)
    image = image.resize((width, rows))
    pixels = image.tobytes()

    def colour(x: int, y: int) -> Color:
        at = 3 * (y * width + x)
        return Color.from_rgb(*pixels[at : at + 3])

    text = Text(no_wrap=True, end="")
    for y in range(0, rows, 2):
        for x in range(width):
            text.append(_UPPER_HALF, Style(color=colour(x, y), bgcolor=colour(x, y + 1)))
        text.append("\n")
    return text
