"""What the tests of routes share besides servers: a browser."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def browser() -> Iterator[Any]:
    """A tab of a real browser; see `browser.py`."""
    file = Path(__file__).with_name("browser.py")
    spec = importlib.util.spec_from_file_location("linocut_tests_browser", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with module.chromium() as tab:
        yield tab
