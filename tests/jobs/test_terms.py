"""What the store takes and gives: values that cannot be changed by whoever holds them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, is_dataclass, replace

import pytest

from linocut.jobs.terms import ApiKey, Backlog, Delivery, Expired, Limits, Submitted


def test_the_values_are_frozen() -> None:
    limits = Limits(queue=1, share=1)
    with pytest.raises(FrozenInstanceError):
        limits.queue = 2  # type: ignore[misc]
    for kind in (Limits, Submitted, Backlog, Delivery, ApiKey, Expired):
        assert is_dataclass(kind)
        assert "__delattr__" in vars(kind), "a frozen class guards its fields"


def test_a_key_allows_no_more_than_it_was_given() -> None:
    key = ApiKey(id="k", tenant="t", name="n", digest="d", scopes=())
    assert not key.allow_unsafe
    assert (key.rate, key.share, key.quota_seconds) == (None, None, None)
    assert replace(key, revoked_at=1.0).revoked_at == 1.0
