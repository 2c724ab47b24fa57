"""Servers as copies of one process that has imported everything: a start costs no imports.

Half of a server's start is the reading of modules, and a storm starts more than a hundred servers.
Each is a process of its own from its first line on, with its own environment and log; it is killed,
frozen and stopped like any other. (The tests of the server start it by its command line.)
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

READ_BEFORE: Final = ["linocut.cli.main", "linocut.cli.serve", "linocut.server.run", "storm_crash"]
_NEST: Final = multiprocessing.get_context("forkserver")


def hatch(script: str, environment: Mapping[str, str], log: Path) -> BaseProcess:
    """`linocut serve`, or `script serve`, under way. Daemonic: no server outlives its storm."""
    _NEST.set_forkserver_preload(READ_BEFORE)
    made = _NEST.Process(target=live, args=(script, dict(environment), log), daemon=True)
    made.start()
    return made


def live(script: str, environment: Mapping[str, str], log: Path) -> None:
    """The life of one server, in a process of its own. STORM_AHEAD: seconds of its clock."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    if "STORM_AHEAD" in environment:
        tell = time.time
        time.time = lambda: tell() + float(environment["STORM_AHEAD"])
    sys.argv = [script or "linocut", "serve"]
    if script:
        importlib.import_module(Path(script).stem).main()
    else:
        importlib.import_module("linocut.cli.main").run()
