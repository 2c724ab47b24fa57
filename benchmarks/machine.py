"""What a benchmark says of the machine that it ran on."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The name that the machine's processor gives itself."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    named = (entry.partition(":")[2].strip() for entry in lines if entry.startswith("model name"))
    return next(named, platform.processor())
