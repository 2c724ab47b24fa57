"""The list of models, for everybody."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest


@pytest.mark.parametrize(
    ("feature", "count"), [("IMAGE_GENERATOR", 1), ("IMAGE_EDITOR", 1), ("", 1), ("CHAT", 0)]
)
def test_models_are_told_by_feature(shared_server: Any, feature: str, count: int) -> None:
    answer = httpx2.get(f"{shared_server.url}/models", params={"feature": feature})
    assert answer.status_code == 200
    assert len(answer.json()["models"]) == count


def test_the_checkpoint_that_draws_is_named(shared_server: Any) -> None:
    (model,) = httpx2.get(f"{shared_server.url}/models").json()["models"]
    assert model["modelId"] == "black-forest-labs/flux-2-dev"
    assert (model["checkpoint"], model["demo"]) == ("fake", True)
    assert model["repertoire"] == {
        "things": {"food": ["red apple", "pear"], "animals": ["fox"]},
        "styles": ["3D", "flat"],
        "backgrounds": ["white", "teal"],
    }
