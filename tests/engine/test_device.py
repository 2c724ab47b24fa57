"""The engine on a device that is not this processor: nothing of it is left behind.

Not on a GPU: what stands in for one tells, as a GPU does, when tensors of two devices meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import ELSEWHERE, Elsewhere
from torch import Tensor

import linocut.engine.engine as module
from linocut.engine import Engine
from linocut.engine.placement import Placement
from linocut.events import Done, Preview
from linocut.request import ImageRequest, Picture
from linocut.sampling.pictures import to_image

REQUEST = ImageRequest(prompt="a red apple", width=64, height=80, num_inference_steps=4, seed=3)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    """What weights lie in and are computed in."""
    return str(request.param)


@pytest.fixture
def there(tiny_folder: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine elsewhere, which draws previews as often as it can."""
    its = DTYPES[dtype]
    placement = Placement(device=ELSEWHERE, dtype=its, modes={"exact": its})
    monkeypatch.setattr(module, "PREVIEW_SECONDS", 0)
    with Elsewhere():
        with monkeypatch.context() as patch:
            patch.setattr(module, "place", lambda *_: placement)
            engine = Engine.open(tiny_folder)
        with engine:
            yield engine


@pytest.fixture
def here(tiny_folder: Path, dtype: str) -> Iterator[Engine]:
    """The same here."""
    with Engine.open(tiny_folder, device="cpu", dtype=dtype) as engine:
        yield engine


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(to_image(picture)).astype(int)


def differ(one: Picture, other: Picture) -> int:
    return int(np.abs(pixels(one) - pixels(other)).max())


def test_it_draws_there_what_it_draws_here(there: Engine, here: Engine) -> None:
    default = here.placement.default_mode
    for encoder, device in ((there.text_encoder, ELSEWHERE), (here.text_encoder, "cpu")):
        assert {it.device for it in encoder.parameters()} == {torch.device(device)}
    source = here.draw(replace(REQUEST, mode=default, seed=7)).picture
    edit = replace(REQUEST, references=(source, source), prompt_strength=0.6, preview=True)
    for request in (REQUEST, edit):
        *events, done = there.run(request)
        assert isinstance(done, Done)
        assert request.preview == any(isinstance(event, Preview) for event in events)
        assert done.threads is None
        assert differ(done.picture, here.draw(replace(request, mode=default)).picture) <= 1
    assert differ(done.picture, source) > 1


def test_what_is_left_behind_is_told(there: Engine) -> None:
    there._networks[there.placement.dtype].transformer.img_in.cpu()
    with pytest.raises(RuntimeError, match="two devices"):
        there.draw(REQUEST)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there, here: there + here,
        lambda there, here: here @ there,
        lambda there, here: torch.cat((there, here)),
        lambda there, here: torch.stack((there.sum(), here.sum())),
        lambda there, here: here[there.long()],
        lambda there, here: there.index_put_((there.long()[0],), here),
        lambda there, here: here.index_put_((there.long()[0],), there),
    ],
)
def test_tensors_of_two_devices_do_not_meet(mixed: Callable[[Tensor, Tensor], Tensor]) -> None:
    with Elsewhere():
        pair = [torch.zeros(2, 2, device=device) for device in (ELSEWHERE, "cpu")]
        with pytest.raises(RuntimeError, match="two devices"):
            mixed(*pair)
        assert mixed(pair[1], pair[1].clone()).device.type == "cpu"
        assert mixed(pair[0], pair[0].clone()).device == ELSEWHERE


def test_single_numbers_and_indices_of_here_may_go_there() -> None:
    with Elsewhere():
        there, here = torch.zeros(2, 2, device=ELSEWHERE), torch.ones(2)
        assert (there + here.sum()).tolist() == [[2, 2], [2, 2]]
        there[here.long()] = 5.0
        assert there[here.long()].tolist() == [[5, 5], [5, 5]]
        there.copy_(here)
        assert there.cpu().tolist() == [[1, 1], [1, 1]]
        assert there.to("cpu").device.type == "cpu"
