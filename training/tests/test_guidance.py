"""What a guided step learns, and how strong the guidance is that it learns."""

import torch

from linocut_training import guidance


def test_the_change_leads_away_from_no_words_and_from_a_weaker_network() -> None:
    given, empty = [[1, 2]], [[1]]
    teacher = {2: torch.tensor([8.0]), 1: torch.tensor([2.0])}
    weaker = {2: torch.tensor([4.0]), 1: torch.tensor([99.0])}
    change = guidance.change(
        lambda rows: teacher[len(rows[0])], lambda rows: weaker[len(rows[0])], given, empty
    )
    assert change.item() == 8 - (2 + 4) / 2


def test_guidance_is_mostly_usual_and_sometimes_anything() -> None:
    scales = guidance.scales(20_000, torch.Generator().manual_seed(0))
    assert 0 <= scales.min() < 0.1
    assert 9.9 < scales.max() <= 10
    assert 0.015 < (scales < 1).float().mean() < 0.025
    assert 0.07 < (scales > 6).float().mean() < 0.09
