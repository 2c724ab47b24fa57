"""Values and rows: what goes in comes out, and rows of other versions can be read."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from linocut.jobs.record import Order
from linocut.jobs.rows import fold, order_of, plan_of
from linocut.request import ImageRequest

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REQUESTS = st.builds(
    ImageRequest,
    prompt=WORDS,
    width=st.integers(4, 128).map(lambda n: 16 * n),
    seed=st.integers(0, 2**53 - 1),
    guidance=st.floats(0, 10),
    prompt_strength=st.floats(0, 1),
    num_inference_steps=st.integers(1, 50),
    mode=WORDS,
    preview=st.booleans(),
)
ORDERS = st.builds(
    Order,
    request=REQUESTS,
    reference_keys=st.lists(WORDS, max_size=3).map(tuple),
    go_fast=st.booleans(),
    output_format=WORDS,
    output_quality=st.integers(0, 100),
    check_safety=st.booleans(),
    warnings=st.lists(WORDS, max_size=3).map(tuple),
)


@given(ORDERS)
def test_an_order_comes_back_from_json_as_it_was(order: Order) -> None:
    assert order_of(json.loads(json.dumps(plan_of(order)))) == order


def test_an_order_of_another_version_can_be_read() -> None:
    plan = plan_of(Order(request=ImageRequest(prompt="x"), go_fast=True))
    plan["from the future"] = 1
    plan["request"]["also"] = [2]
    del plan["warnings"], plan["request"]["mode"]
    order = order_of(plan)
    assert (order.go_fast, order.warnings, order.request.mode) == (True, (), "exact")


def test_folding_forgets_case_and_spelling() -> None:
    assert fold("STRASSE É") == fold("straße e\N{COMBINING ACUTE ACCENT}")
    assert fold("a") != fold("b")
