"""What the tests of routes share besides servers: a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from real_browser import Browser, chromium


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A tab of a real browser."""
    with chromium() as tab:
        yield tab
