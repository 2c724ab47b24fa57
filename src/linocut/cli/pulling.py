"""A download as seen on a terminal: one bar for all its files."""

from __future__ import annotations

from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from linocut.cli import say
from linocut.cli.progress import is_lively
from linocut.weights import fetch


def follow(
    name: str,
    *,
    home: Path,
    token: str | None,
    endpoint: str | None,
    with_safety_model: bool = False,
) -> Path:
    """The folder of the checkpoint once it is here, shown while it comes."""
    console = say.console()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not is_lively(console),
    )
    bar.add_task(say.printable(name), total=None)
    with bar:
        for event in fetch.pull(
            name,
            home=home,
            token=token,
            endpoint=endpoint or fetch.ENDPOINT,
            with_safety_model=with_safety_model,
        ):
            if isinstance(event, fetch.Pulled):
                return event.folder
            _show(event, bar)
    raise AssertionError("a pull ends with Pulled or with an error")


def _show(event: fetch.Event, bar: Progress) -> None:
    task, console = bar.task_ids[0], bar.console
    match event:
        case fetch.Licence(text=text):
            for line in text.splitlines():
                say.note(line, to=console)
        case fetch.Planned(folder=folder, files=files, size=size, here=here):
            missing = f"{say.gigabytes(size - here)} of {say.gigabytes(size)}"
            say.note(f"{missing}, {files} files in all, to be fetched into {folder}", to=console)
            bar.update(task, total=size, completed=here)
        case fetch.Progress(file=file, done_in_all=done):
            bar.update(task, description=say.printable(file), completed=done)
        case fetch.Checking(file=file):
            bar.update(task, description=f"checking {say.printable(file)}")
        case fetch.Again(file=file, reason=reason):
            say.warning(f"{file}: {reason}; trying again", to=console)
