"""The `linocut` command and `python -m linocut`: Ctrl+C is quiet from the first import on."""

from __future__ import annotations

import sys
from typing import Final

INTERRUPTED: Final = 130  # as shells count it: 128, and the number of the signal


def run() -> None:
    """The console script. What it imports takes a second, in which a person may think again."""
    try:
        from linocut.cli.main import run as command  # noqa: PLC0415

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
