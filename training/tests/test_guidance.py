"""What a guided step learns, and how strong the guidance is that it learns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from linocut_training import guidance


def answers(**by_length: float) -> guidance.Velocity:
    """A network that answers by a caption's length, and tells the guidance it is asked with."""

    def velocity(rows: guidance.Rows, scale_B: Tensor) -> Tensor:
        value = torch.tensor([by_length[f"of_{len(row)}"] for row in rows]) * scale_B
        return value[:, None, None, None]

    return velocity


def test_the_change_leads_away_from_no_words_and_from_a_weaker_network() -> None:
    teacher, weaker = answers(of_2=8.0, of_1=2.0), answers(of_2=4.0, of_1=99.0)
    scale_B = torch.tensor([1.0, 2.0, 4.0])
    change = guidance.change(teacher, weaker, [[1, 2]] * 3, [[1]] * 3, scale_B)
    assert change.flatten().tolist() == [0, 8 - (2 + 4) / 2, 3 * (8 - (2 + 4) / 2)]


def test_once_style_counts_the_velocity_leads_away_from_another_style_as_well() -> None:
    guided, scale_B = answers(of_2=8.0, of_1=2.0), torch.tensor([0.0, 1.0, 3.0, 3.0, 6.0])
    rows, others = [[1, 2]] * 5, [[1], [1], [1], [1, 2], [1]]
    left = [0, 0, 0.5 * 2 * 3 * (8.0 - 2.0), 0, 0.5 * 2 * 3 * (8.0 - 2.0)]
    wanted = [scale * 8.0 + more for scale, more in zip(scale_B.tolist(), left, strict=True)]
    assert guidance.styled(guided, rows, others, scale_B).flatten().tolist() == wanted


def test_guidance_is_mostly_usual_and_sometimes_anything() -> None:
    scales = guidance.scales(20_000, torch.Generator().manual_seed(0))
    assert 0 <= scales.min() < 0.1
    assert 9.9 < scales.max() <= 10
    assert 0.015 < (scales < 1).float().mean() < 0.025
    assert 0.07 < (scales > 6).float().mean() < 0.09


@given(scale=st.floats(0, 10), asked=st.floats(-9, 9), empty=st.floats(-9, 9))
def test_what_no_teacher_knows_is_brought_out_by_the_learner_itself(scale, asked, empty) -> None:
    learner, scale_B = answers(of_2=asked, of_1=empty), torch.tensor([1.0, 2.0, scale])
    added = guidance.own(learner, [[1, 2]] * 3, [[1]] * 3, scale_B).flatten().tolist()
    assert added[0] == 0
    assert added[1] == pytest.approx(0.75 * (asked - empty), abs=1e-4)
    assert added[2] == pytest.approx((scale - 1) * added[1], abs=1e-3)


def test_the_learner_is_asked_and_not_taught_by_its_own_guidance() -> None:
    weight = torch.ones((), requires_grad=True)

    def learner(rows: guidance.Rows, scale_B: Tensor) -> Tensor:
        assert (scale_B == 1).all()
        return (weight * len(rows[0]) * scale_B)[:, None, None, None]

    added = guidance.own(learner, [[1, 2]], [[1]], torch.tensor([3.0]))
    assert added.item() != 0
    assert not added.requires_grad


@pytest.mark.parametrize("share", [guidance.PLAIN_SHARE, guidance.NEW_PLAIN_SHARE])
def test_as_many_as_are_to_be_plain_have_no_guidance(share) -> None:
    new, usual = (
        guidance.scales(20_000, torch.Generator().manual_seed(0), plain_share=plain)
        for plain in (share, 0)
    )
    is_one = new == 1
    assert abs(is_one.float().mean() - share) < 0.015
    assert not (usual == 1).any()
    assert torch.equal(new[~is_one], usual[~is_one])
