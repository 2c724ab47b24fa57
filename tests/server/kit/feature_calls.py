"""Calls of the contract's dialect as its tests make them: parsed, ordered, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from linocut.errors import InvalidRequest
from linocut.jobs.record import Order
from linocut.server.dialects.features import MODEL, FeatureCall, Reference, parse

PROMPT = {"prompt": "a red apple"}
KEY = "images/2026_03_27_10_00_04_001_x7k2pq_cat.png"
DATA = "data:image/png;base64,iVBORw0KGgo="


def call(prompt: Any = None, /, *, kind: str = "IMAGE_GENERATOR", **top: Any) -> FeatureCall:
    """Parsed: a generator's request with these fields in promptObject."""
    inner = PROMPT | prompt if isinstance(prompt, dict) else prompt or PROMPT
    return parse({"type": kind, "model": MODEL, "promptObject": inner, **top})


def order(prompt: Any = None, /, **top: Any) -> Order:
    """What is drawn of it; every reference is 1000 x 700."""
    found = call(prompt, **top)
    references = [Reference(f"k{n}", 1000, 700) for n, _ in enumerate(found.sources)]
    return found.order(references, seed=7)


def refusal(prompt: Any = None, /, **top: Any) -> InvalidRequest:
    """Why it is refused."""
    with pytest.raises(InvalidRequest) as caught:
        order(prompt, **top)
    return caught.value
