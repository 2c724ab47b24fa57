"""The fit of rates, against runs whose rate is known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.catalog import DEV, MINI
from linocut.cost import request_cost
from linocut.request import ImageRequest, Picture
from linocut.workers.protocol import Rate
from linocut.workers.rate import (
    KEPT,
    Run,
    Runs,
    chosen_mode,
    estimate,
    fast_mode,
    first_rate,
    fitted,
    seconds_of,
)

TRUE = Rate(per_step=0.02, flops_per_second=5e12)
FIRST = Rate(per_step=0.3, flops_per_second=1e12)
SIZES = (1e10, 4e10, 2e11, 6e11)


def run(steps: int, flops_a_step: float, slower: float = 1.0) -> Run:
    """A run at the true rate, or slower."""
    flops = steps * flops_a_step
    return Run(steps, flops, slower * seconds_of(TRUE, steps, flops))


def test_runs_of_several_sizes_give_their_rate_back() -> None:
    rate = fitted([run(steps, size) for steps in (4, 28) for size in SIZES], FIRST)
    assert rate.per_step == pytest.approx(TRUE.per_step)
    assert rate.flops_per_second == pytest.approx(TRUE.flops_per_second)


def test_a_few_slow_runs_do_not_move_the_fit() -> None:
    chance = random.Random(3)  # noqa: S311 - repeatable
    runs = [run(28, SIZES[i % 4], chance.uniform(0.98, 1.02)) for i in range(16)]
    runs += [run(28, size, 8.0) for size in SIZES]
    rate = fitted(runs, FIRST)
    for size in SIZES:
        said, true = (seconds_of(each, 28, 28 * size) for each in (rate, TRUE))
        assert said == pytest.approx(true, rel=0.15)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=KEPT))
def test_runs_of_one_size_scale_what_was_known_before(slower: list[float]) -> None:
    rate = fitted([run(28, 2e11, factor) for factor in slower], FIRST)
    middle = sorted(slower)[len(slower) // 2]
    if len(slower) % 2:
        expected = middle * seconds_of(TRUE, 28, 28 * 2e11)
        assert seconds_of(rate, 28, 28 * 2e11) == pytest.approx(expected)
    assert rate.per_step * rate.flops_per_second == pytest.approx(
        FIRST.per_step * FIRST.flops_per_second
    )


@given(
    st.lists(
        st.builds(Run, st.integers(1, 50), st.floats(1e6, 1e16), st.floats(1e-4, 1e4)), max_size=20
    )
)
def test_no_runs_give_a_rate_that_is_not_one(runs: list[Run]) -> None:
    rate = fitted(runs, FIRST)
    assert rate.per_step >= 0
    assert rate.flops_per_second > 0


def test_only_the_last_twenty_runs_count() -> None:
    runs = Runs(FIRST)
    for _ in range(KEPT):
        runs.add(run(28, 2e11, 50.0))
    for _ in range(KEPT):
        rate = runs.add(run(28, 2e11))
    assert seconds_of(rate, 28, 28 * 2e11) == pytest.approx(seconds_of(TRUE, 28, 28 * 2e11))


def test_before_any_run_the_warm_up_is_what_is_known() -> None:
    assert Runs(FIRST).rate == FIRST
    assert Runs(FIRST).add(Run(0, 1e9, 3.0)) == FIRST


def test_a_warm_up_at_two_sizes_gives_both_numbers() -> None:
    rate = first_rate(run(2, 1e10), run(2, 6e11))
    assert rate.per_step == pytest.approx(TRUE.per_step)
    assert rate.flops_per_second == pytest.approx(TRUE.flops_per_second)


def test_a_warm_up_whose_small_run_was_the_slower_one_is_all_rate() -> None:
    rate = first_rate(Run(2, 2e9, 3.0), Run(2, 1e12, 2.0))
    assert rate == Rate(per_step=0.0, flops_per_second=5e11)


PHOTO = Picture(640, 384, bytes(3 * 640 * 384))


@pytest.mark.parametrize("model", [MINI, DEV], ids=["mini", "dev"])
@pytest.mark.parametrize("strength", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_estimate_needs_the_references_sizes_only(
    model: object, strength: float, count: int
) -> None:
    request = ImageRequest(prompt="x", prompt_strength=strength)
    photos = [replace(PHOTO, rgb=bytes([i]) * len(PHOTO.rgb)) for i in range(count)]
    cost = request_cost(replace(request, references=tuple(photos)), model)  # type: ignore[arg-type]
    seconds = estimate(request, [(640, 384)] * count, model=model, rate=TRUE)  # type: ignore[arg-type]
    assert seconds == seconds_of(TRUE, cost.steps, cost.flops.total)


def test_steps_that_are_left_out_cost_nothing() -> None:
    whole, part = (
        estimate(ImageRequest(prompt="x", prompt_strength=s), [(64, 64)], model=DEV, rate=TRUE)
        for s in (1.0, 0.5)
    )
    assert part < 0.6 * whole


@pytest.mark.parametrize(
    ("asked", "modes", "fast", "chosen"),
    [
        ("exact", ("exact", "bf16"), None, "exact"),
        ("exact", ("exact", "bf16"), "bf16", "bf16"),
        ("exact", ("exact",), None, "exact"),
        ("exact", ("bf16",), None, "bf16"),
        ("bf16", ("exact", "bf16"), None, "bf16"),
        ("fp8", ("exact", "bf16"), "bf16", "fp8"),
    ],
)
def test_a_named_mode_is_an_order_and_going_fast_a_permission(
    asked: str, modes: tuple[str, ...], fast: str | None, chosen: str
) -> None:
    assert chosen_mode(asked, modes, fast) == chosen


@pytest.mark.parametrize(
    ("of_exact", "of_bf16", "steps", "expected"),
    [
        ((0.0, 1e9), (0.0, 2e9), 4, "bf16"),
        ((0.0, 2e9), (0.0, 1e9), 4, None),  # a processor that only imitates half the precision
        ((0.1, 1e9), (0.0, 1e9), 4, "bf16"),
        ((0.0, 1e9), (0.2, 2e9), 4, None),  # what it gains by its products it loses by its steps
        ((0.0, 1e9), (0.2, 2e9), 2, "bf16"),
        ((0.1, 1e9), (0.1, 1e9), 4, None),
    ],
)
def test_fast_is_what_draws_the_usual_faster_than_the_default(
    of_exact: tuple[float, float], of_bf16: tuple[float, float], steps: int, expected: str | None
) -> None:
    rates = {
        mode: Rate(per_step=per_step, flops_per_second=flops)
        for mode, (per_step, flops) in (("exact", of_exact), ("bf16", of_bf16))
    }
    assert fast_mode(rates, Run(steps=steps, flops=1e9, seconds=0.0)) == expected


def test_what_has_one_mode_has_no_faster_one() -> None:
    only = {"bf16": Rate(per_step=0.1, flops_per_second=1e9)}
    assert fast_mode(only, Run(steps=4, flops=1e9, seconds=0.0)) is None
