"""`linocut serve` on a disk that lies behind a peer, which is at the port FAR_DISK of loopback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "kit"))  # as a program it has no conftest

from far_peer import behind

from linocut.cli.main import run

if __name__ == "__main__":
    sys.argv[0] = "linocut"
    with behind(("127.0.0.1", int(os.environ["FAR_DISK"]))):
        run()
