"""A mixed teacher is between two editions, as far from each as was asked for."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut_training import mixed as mixing
from linocut_training import shipped, transformer
from linocut_training.mixed import mixed
from linocut_training.plans import ENRICHING
from linocut_training.state import Stretch

shares = st.floats(0, 1)


@pytest.fixture
def editions() -> tuple[dict[str, torch.Tensor], ...]:
    """The weights of two."""
    rng = torch.Generator().manual_seed(0)
    return tuple(
        {"one": torch.randn(3, 4, generator=rng), "more": torch.randn(5, generator=rng)}
        for _ in range(2)
    )


def test_a_share_of_all_or_nothing_is_one_of_the_two(editions) -> None:
    one, other = editions
    for share, wanted in ((1, one), (0, other)):
        found = mixed(one, other, share)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@given(share=shares)
def test_the_weights_are_means_by_their_shares(share) -> None:
    one, other = {"name": torch.tensor([4.0, -1.0])}, {"name": torch.tensor([2.0, 7.0])}
    wanted = [share * 4 + (1 - share) * 2, -share + (1 - share) * 7]
    assert mixed(one, other, share)["name"].tolist() == pytest.approx(wanted, abs=1e-5)
    assert (one["name"].tolist(), other["name"].tolist()) == ([4, -1], [2, 7])


@pytest.mark.parametrize("share", [-0.01, 1.01, 60, float("nan")])
def test_a_share_that_is_none_is_refused(editions, share) -> None:
    with pytest.raises(ValueError, match=rf"share={share}: use 0 to 1"):
        mixed(*editions, share)


def test_weights_of_two_kinds_are_refused_by_their_names(editions) -> None:
    one, other = editions
    for pair in ((one, other | {"new": torch.zeros(1)}), (one | {"new": torch.zeros(1)}, other)):
        with pytest.raises(ValueError, match=r"not of one kind: only in one of them \['new'\]"):
            mixed(*pair, 0.5)


@pytest.mark.parametrize(
    ("said", "share"), [((), 0.6), (("--share", "0.25"), 0.25), (("--share", "1"), 1.0)]
)
def test_the_mixture_lies_where_an_enriching_training_finds_its_teacher(
    said, share, exported, training_folder, monkeypatch
) -> None:
    folders = [exported(seed) for seed in (3, 4)]
    call = ["mixed", *map(str, folders), str(training_folder), *said]
    monkeypatch.setattr(sys, "argv", call)
    mixing.main()
    one, other = (shipped.network_of(folder).state_dict() for folder in folders)
    kept = torch.load(training_folder / transformer.EARLIER, weights_only=True)
    assert kept.keys() == one.keys()
    for name, value in kept.items():
        assert torch.allclose(value, share * one[name] + (1 - share) * other[name], atol=1e-6)
    name = "transformer.img_in.weight"
    assert torch.equal(one[name], kept[name]) == (share == 1)
    assert not torch.equal(other[name], kept[name])
    training = transformer.begin(training_folder, ENRICHING, Stretch())
    assert torch.equal(training.earlier.state_dict()[name], kept[name])


def test_weights_of_other_shapes_are_refused(editions) -> None:
    one, other = editions
    with pytest.raises(ValueError, match=r"more is \(5,\) in one of them and \(1,\) in the other"):
        mixed(one, other | {"more": torch.zeros(1)}, 0.5)


def test_a_mixture_can_be_a_checkpoint(exported, tmp_path, monkeypatch) -> None:
    folders, work, out = [exported(seed) for seed in (3, 4)], tmp_path / "mixing", tmp_path / "out"
    work.mkdir()
    shipped.go_on_from(folders[0], work)
    teacher = (work / transformer.EARLIER).read_bytes()
    call = ["mixed", *map(str, folders), str(work), "--share", "0.75", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", call)
    mixing.main()
    one, other, found = (shipped.network_of(it).state_dict() for it in (*folders, out))
    for name, value in found.items():
        mean = 0.75 * one[name] + 0.25 * other[name]
        assert torch.allclose(value, mean, rtol=2**-8, atol=1e-6)
    assert (work / transformer.EARLIER).read_bytes() == teacher
