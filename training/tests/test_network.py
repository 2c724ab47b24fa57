"""The network as it is trained is the network as it draws."""

import copy
from dataclasses import replace

import pytest
import torch

import linocut_training.network as module
from linocut.model import attention
from linocut.sampling import tokens
from linocut.sampling.denoise import bind, denoise
from linocut_training.network import (
    REFERENCE_TIME,
    Network,
    Watched,
    grid_positions,
    text_positions,
)
from linocut_training.text_encoder import context


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def lively(toy) -> Network:
    """The toy network with weights large enough for every input to matter."""
    network = Network(0).requires_grad_(False)
    for parameter in network.transformer.parameters():
        parameter.normal_(0, 0.2, generator=seeded(1))
    return network


def test_every_block_begins_as_the_identity_and_the_velocity_as_nothing(network) -> None:
    model = network.transformer
    img, txt = torch.randn(2, 6, 32, generator=seeded()), torch.randn(2, 5, 32)
    rotary = model.rotary(torch.cat((text_positions(5), grid_positions(2, 3, 0))))
    modulation = model.modulation(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 7.0]))
    for block in model.double_blocks:
        same_img, same_txt = block(img, txt, rotary, modulation)
        assert torch.equal(same_img, img)
        assert torch.equal(same_txt, txt)
    both = torch.cat((txt, img), 1)
    for block in model.single_blocks:
        assert torch.equal(block(both, rotary, modulation.single_N3C[:, :, None].unbind(1)), both)
    velocity = model(img, txt, rotary=rotary, modulation=modulation)
    assert velocity.shape == (2, 6, 8)
    assert not velocity.any()


def test_only_the_shifts_begin_random(network) -> None:
    modulation = network.transformer.modulation(torch.tensor([0.5]), torch.tensor([1.0]))
    for part in (modulation.image_N6C, modulation.text_N6C, modulation.single_N3C):
        shift, scale, gate = part.unflatten(1, (-1, 3)).unbind(2)
        assert (shift != 0).all()
        assert not scale.any()
        assert not gate.any()
    assert not modulation.final_N2C.any()


def test_text_stands_where_drawing_puts_it(toy) -> None:
    whole = tokens.text_tokens(torch.zeros(1, toy.conditioning.max_tokens, 48)).at_LA
    for count in (1, 7, toy.conditioning.max_tokens):
        assert torch.equal(text_positions(count), whole[-count:])


@pytest.mark.parametrize("grid", [(8, 8), (6, 10), (12, 5)])
def test_pictures_and_references_stand_where_drawing_puts_them(grid) -> None:
    latent = torch.zeros(1, 8, *grid)
    assert torch.equal(grid_positions(*grid, 0), tokens.picture_tokens(latent).at_LA)
    reference = tokens.reference_tokens((latent,))
    assert reference is not None
    assert torch.equal(grid_positions(*grid, REFERENCE_TIME), reference.at_LA)


@pytest.mark.parametrize("corner", [(0, 0), (2, 0), (0, 2), (4, 4)])
def test_a_part_of_a_picture_stands_where_it_does_in_the_whole(corner) -> None:
    top, left = corner
    whole = grid_positions(8, 8, 0).reshape(8, 8, 4)
    part = whole[top : top + 4, left : left + 3].reshape(-1, 4)
    assert torch.equal(grid_positions(4, 3, 0, corner), part)


def test_where_a_part_begins_changes_its_velocity(lively) -> None:
    noisy = torch.randn(1, 8, 3, 5, generator=seeded(2))
    text, level = context(lively.text_encoder, [[1, 3, 40, 4]], 6), torch.tensor([0.8])
    here, same, there = (
        lively.beside(noisy, level, level, text, (), corner=corner)[0]
        for corner in ((0, 0), (0, 0), (2, 1))
    )
    assert torch.equal(here, same)
    assert (here - there).abs().max() > 1e-3


def test_a_watched_network_tells_what_its_tokens_look_at(lively) -> None:
    noisy = torch.randn(2, 8, 3, 5, generator=seeded(2))
    text, level = context(lively.text_encoder, [[1, 3, 40, 4], [1, 3, 41, 4]], 6), torch.rand(2)
    unseen = lively(noisy, level, level, text)
    with lively.watched() as seen:
        assert torch.equal(lively(noisy, level, level, text), unseen)
        blocks = len(lively.transformer.double_blocks) + len(lively.transformer.single_blocks)
        assert [tuple(it.shape) for it in seen] == [(2, 2, 21, 21)] * blocks
        for weights in seen:
            assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 21))
            assert (weights >= 0).all()
    assert not seen
    lively(noisy, level, level, text)
    assert not seen


def test_what_is_watched_is_what_attention_weighs_its_values_by() -> None:
    watched, (q, k, v) = Watched(), torch.randn(3, 2, 4, 7, 8, generator=seeded(4))
    found = watched(q, k, v)
    assert torch.allclose(found, attention.fused(q, k, v), atol=1e-5)
    assert torch.allclose(watched.seen[0] @ v, found)


def test_a_watch_ends_with_an_error_too(lively) -> None:
    def watch_a_failure() -> None:
        with lively.watched():
            raise KeyError

    with pytest.raises(KeyError):
        watch_a_failure()
    assert lively.transformer.double_blocks[0].attend is attention.spelled_out


@pytest.mark.parametrize("num_references", [0, 1, 2])
def test_training_and_drawing_compute_the_same_velocity(lively, toy, num_references) -> None:
    noisy, *references = torch.randn(1 + num_references, 2, 8, 3, 5, generator=seeded(2))
    words = [[1, 3, 40, 50, 4], [1, 3, 60, 4]]
    text = context(lively.text_encoder, words, toy.conditioning.max_tokens)
    t_B, guidance_B = torch.tensor([0.8, 0.25]), torch.tensor([3.5, 1.0])
    trained = lively(noisy, t_B, guidance_B, text, references)
    assert trained.shape == noisy.shape
    assert trained.std() > 0.1
    for index in range(2):
        one = slice(index, index + 1)
        drawn = tokens.picture_tokens(noisy[one])
        velocity = bind(
            lively.transformer, drawn, text=tokens.text_tokens(text[one]),
            references=tokens.reference_tokens([it[one] for it in references]),
            guidance=guidance_B[index].item(), levels=[t_B[index].item()],
        )  # fmt: skip
        (step,) = denoise(velocity, drawn.x_BLC, [t_B[index].item(), 0.0])
        found = tokens.to_latent(step.velocity_BLC, 3, 5)
        assert torch.allclose(found, trained[one], atol=1e-4)


def test_every_input_changes_the_velocity(lively, toy) -> None:
    noisy, first, second = torch.randn(3, 1, 8, 3, 5, generator=seeded(3))
    one, five = torch.tensor([1.0]), torch.tensor([5.0])
    some, other = (context(lively.text_encoder, [[1, 3, word, 4]], 6) for word in (40, 41))
    seen = [
        lively(*inputs)
        for inputs in (
            (noisy, one / 2, one, some), (noisy, one / 3, one, some),
            (noisy, one / 2, five, some), (noisy, one / 2, one, other),
            (noisy, one / 2, one, some, (first,)), (noisy, one / 2, one, some, (noisy,)),
            (noisy, one / 2, one, some, (first, second)),
            (noisy, one / 2, one, some, (second, first)),
        )
    ]  # fmt: skip
    for index, velocity in enumerate(seen):
        for another in seen[index + 1 :]:
            assert (velocity - another).abs().max() > 1e-3


def test_what_is_tapped_is_what_two_blocks_say(toy, monkeypatch) -> None:
    deep = replace(toy, transformer=replace(toy.transformer, num_single_blocks=4))
    monkeypatch.setattr(module, "MINI", deep)
    network, said = Network(0), {}
    for number, block in enumerate(network.transformer.single_blocks):
        block.register_forward_hook(lambda *it, number=number: said.update({number: it[2]}))
    noisy, text = torch.randn(2, 8, 3, 4, generator=seeded()), torch.randn(2, 5, 48)
    levels = torch.tensor([0.9, 0.1])
    teacher = copy.deepcopy(network).requires_grad_(False)
    teacher(noisy, levels, 3 * levels, text)
    assert teacher.early.said is teacher.late.said is None
    network(noisy, levels, 3 * levels, text, (noisy,))
    assert network.early.said is said[0]
    assert network.late.said is said[2]
    assert network.early.taken() is said[0]
    assert network.early.said is None
    assert teacher.early is not network.early
