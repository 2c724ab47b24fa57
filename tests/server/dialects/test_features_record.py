"""A record on the wire: the contract's `aiRecord`, true at every state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import ContentRefused, to_stored
from linocut.jobs.record import Order, Record, State
from linocut.repertoire import Repertoire, Thing
from linocut.request import ImageRequest
from linocut.server.dialects.features import MODEL, parse
from linocut.server.dialects.features_record import Waiting, ai_record, models, moment
from linocut.server.schemas import AiRecord, ModelsAnswer

RESPONSE = Path(__file__).parents[1] / "routes" / "contract_examples" / "response.json"
PRINTED: dict[str, Any] = json.loads(RESPONSE.read_text(encoding="utf-8"))["aiRecord"]
PROMPT = PRINTED["aiRecordDetail"]["promptObject"]
KEY = "development/images/2026_03_27_10_00_04_001_coffee_shop.webp"
CREATED = 1774605600.0
QUEUED = Record(
    id=PRINTED["uuid"],
    tenant="t",
    key_id="k",
    feature="IMAGE_GENERATOR",
    model=MODEL,
    state=State.QUEUED,
    body={"type": "IMAGE_GENERATOR", "model": MODEL, "promptObject": PROMPT},
    order=Order(
        request=ImageRequest(prompt=PROMPT["prompt"], width=896, height=1088, seed=7),
        warnings=("a", "b"),
    ),
    estimate=12.0,
    attempt=0,
    fence=0,
    starred=False,
    created_at=CREATED,
)
DRAWN = replace(
    QUEUED,
    state=State.SUCCESS,
    started_at=CREATED + 1.25,
    finished_at=CREATED + 4.0,
    result_keys=(KEY,),
    result={
        "seed": 7, "width": 896, "height": 1088, "drawn_width": 224, "drawn_height": 272,
        "mode": "exact", "checkpoint": "linocut-mini", "demo": True,
        "safety": {"checked": True}, "warnings": ["b", "c"], "timings": {"denoise": 1.5},
        "seconds": 2.75,
    },
)  # fmt: skip


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """The same, as it is on the wire; it fits its schema."""
    AiRecord.model_validate_json(json.dumps(found, allow_nan=False))
    return found


def test_a_drawn_record_has_every_member_that_the_contract_prints() -> None:
    found = checked(ai_record(DRAWN, temporary_url=PRINTED["temporaryUrl"]))
    assert {name: found[name] for name in PRINTED} == PRINTED
    assert set(found) == {*PRINTED, "metadata"}


def test_metadata_tells_what_was_done() -> None:
    found = ai_record(DRAWN, kept_until=CREATED + 86_400, kept_while_room=True)
    metadata = checked(found)["metadata"]
    told = {name: metadata[name] for name in DRAWN.result if name != "warnings"}
    assert told == {name: value for name, value in DRAWN.result.items() if name != "warnings"}
    assert metadata["warnings"] == ["a", "b", "c"]
    assert metadata["queue"] == {"place": None, "seconds_left": None, "seconds_waited": 1.2}
    assert metadata["kept_until"] == "2026-03-28T10:00:00.000Z"
    assert metadata["kept_while_room"] is True
    assert metadata["started_at"] == "2026-03-27T10:00:01.250Z"
    assert "error" not in metadata


def test_a_queued_record_is_processing_and_knows_its_place_and_seed() -> None:
    found = checked(ai_record(QUEUED, waiting=Waiting(3, 41.06)))
    assert (found["status"], found["temporaryUrl"]) == ("PROCESSING", None)
    assert found["aiRecordDetail"]["resultObject"] == []
    metadata = found["metadata"]
    assert metadata["queue"] == {"place": 3, "seconds_left": 41.1, "seconds_waited": None}
    assert (metadata["seed"], metadata["width"], metadata["height"]) == (7, 896, 1088)
    assert metadata["safety"] == {"checked": True}
    assert metadata["kept_until"] is metadata["started_at"] is None


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_status_that_hosted_clients_know(state: State) -> None:
    found = checked(ai_record(replace(QUEUED, state=state)))
    wanted = "PROCESSING" if state is State.QUEUED else state.value
    assert found["status"] == wanted
    assert ("error" in found["metadata"]) == (state is State.FAILURE)


def test_a_failure_says_why() -> None:
    error = ContentRefused("no", stage="input", category="x", hint="another")
    failed = replace(QUEUED, state=State.FAILURE, error=to_stored(error))
    assert checked(ai_record(failed))["metadata"]["error"] == {
        "code": "content_moderated",
        "message": "no",
        "hint": "another",
    }


def test_an_error_of_an_earlier_attempt_is_no_failure() -> None:
    retried = replace(QUEUED, error={"code": "worker_failed", "message": "m", "hint": "h"})
    assert "error" not in ai_record(retried)["metadata"]


def test_the_prompt_object_is_repeated_as_it_was_sent() -> None:
    sent = {"prompt": "p", "megapixels": 1.0, "seed": None, "unknown": {"a": [1]}}
    body = parse({"type": "IMAGE_GENERATOR", "model": "flux-2-dev", "promptObject": sent}).body
    found = ai_record(replace(QUEUED, body=body))
    assert found["aiRecordDetail"]["promptObject"] == sent


@given(st.integers(0, 4_000_000_000_000))
def test_moments_have_three_digits_of_milliseconds(milliseconds: int) -> None:
    text = moment(milliseconds / 1000)
    assert len(text) == 24
    assert text.endswith(f".{milliseconds % 1000:03}Z")


@pytest.mark.parametrize("feature", ["", "IMAGE_GENERATOR", "IMAGE_EDITOR"])
def test_the_model_is_listed_for_what_it_does(feature: str) -> None:
    found = models(feature, checkpoint="linocut-mini", demo=True)
    ModelsAnswer.model_validate_json(json.dumps(found))
    (model,) = found["models"]
    assert (model["modelId"], model["checkpoint"], model["demo"]) == (MODEL, "linocut-mini", True)
    assert model["repertoire"] is None
    taught = Repertoire((Thing("fox", "animals", ("foxes",)),), ("3D",), ("white",))
    ModelsAnswer.model_validate_json(json.dumps(models(feature, repertoire=taught)))
    for name in (model["modelId"], *model["aliases"]):
        parse({"type": model["features"][0], "model": name, "promptObject": {"prompt": "x"}})


def test_other_features_have_no_models() -> None:
    assert models("CHAT") == {"models": []}
    assert models()["models"][0]["checkpoint"] is None
