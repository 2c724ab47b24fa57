"""`python -m linocut` is the `linocut` command."""

from __future__ import annotations

from linocut.cli.main import run

if __name__ == "__main__":
    run()
