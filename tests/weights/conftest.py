"""Small checkpoints as diffusers writes them, and a small hub to fetch one from."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Pipeline
from safetensors.torch import load_file, save_file

from linocut.catalog import CHECKPOINTS, AutoencoderConfig
from linocut.errors import CheckpointInvalid, CheckpointNotFound, DownloadRefused
from linocut.weights import convert
from linocut.weights.fetch import Event, pull
from linocut.weights.files import open_checkpoint
from linocut.weights.names import TRANSFORMER, autoencoder

DEV = CHECKPOINTS["flux-2-dev"]
AUTOENCODER = AutoencoderConfig(channels=(32, 64, 64), layers_per_block=1, latent_channels=4)


def beside(name: str) -> ModuleType:
    """A module that lies beside this file; tests are no package that it could be imported from."""
    file = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"linocut_tests_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


hub_server = beside("hub")


def write(small: SimpleNamespace, folder: Path, *, layers: int, shards: str = "10GB") -> Path:
    """The folder that diffusers writes for a tiny pipeline with that many text layers."""
    pipeline = Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=small.their_autoencoder(AUTOENCODER, 1),
        text_encoder=small.their_text_encoder(2, layers=layers),
        tokenizer=small.byte_tokenizer(small.user_template),
        transformer=small.their_transformer(small.transformer, 3),
    )
    pipeline.save_pretrained(folder, max_shard_size=shards)
    return folder


@pytest.fixture(scope="session")
def tiny(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that does not state its taps: four layers, a context of three. Read only."""
    return write(small, tmp_path_factory.mktemp("tiny") / "tiny", layers=4)


@pytest.fixture(scope="session")
def dev_like(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in shards, with 48 text layers and a licence, as FLUX.2 [dev] has them. Read only.

    A text layer has 11 kB, so that some shards hold nothing but layers that are never read.
    """
    folder = tmp_path_factory.mktemp("dev") / "dev"
    write(small, folder, layers=48, shards="500KB")
    (folder / "text_encoder" / "model.safetensors").unlink(missing_ok=True)
    encoder = small.their_text_encoder(2, layers=48)
    encoder.save_pretrained(folder / "text_encoder", max_shard_size="60KB")
    (folder / "LICENSE.md").write_text("FLUX Non-Commercial License, the text\n")
    (folder / "README.md").write_text("The model card.\n")
    (folder / "flux2-dev.safetensors").write_bytes(b"the single file is not fetched")
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of `tiny` to break, with its taps stated."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    (folder / "linocut.json").write_text('{"text_layers": [1, 2, 3]}')
    return folder


@pytest.fixture
def single(tiny: Path, tmp_path: Path) -> Path:
    """`tiny` as single files of Black Forest Labs' layout, its encoder and tokenizer beside."""
    folder = tmp_path / "single"
    folder.mkdir()
    parts = (
        ("transformer", "flux2-dev", TRANSFORMER),
        ("vae", "ae", autoencoder(len(AUTOENCODER.channels))),
    )
    for theirs, ours, names in parts:
        state = load_file(tiny / theirs / "diffusion_pytorch_model.safetensors")
        save_file(convert.from_diffusers(names, state), folder / f"{ours}.safetensors")
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(tiny / part, folder / part)
    (folder / "linocut.json").write_text('{"text_layers": [1, 2, 3]}')
    return folder


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Opens what must not open and gives the error's message and hint, with " | " between."""

    def refuse(folder: Path | str, **how: Any) -> str:
        with pytest.raises((CheckpointInvalid, CheckpointNotFound)) as caught:
            open_checkpoint(folder, **how)
        return f"{caught.value.message} | {caught.value.hint}"

    return refuse


@pytest.fixture
def edit() -> Callable[..., None]:
    """Changes fields of a JSON file; None removes one."""

    def change(file: Path, **fields: Any) -> None:
        values = json.loads(file.read_text()) | fields
        kept = {key: value for key, value in values.items() if value is not None}
        file.write_text(json.dumps(kept))

    return change


@pytest.fixture
def hub(dev_like: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub that serves `dev_like` under the repository and revision of FLUX.2 [dev]."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")  # which must never be sent
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # loopback only
    served = hub_server.Hub.of(dev_like, DEV.repo, DEV.revision)
    server = hub_server.serve(served)
    yield served
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where pulled checkpoints go; it is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def pulled(hub: Any, home: Path) -> Callable[..., Iterator[Event]]:
    """A pull from the hub into the home, with a good token; waiting takes no time."""

    def start(token: str | None = hub_server.TOKEN, **options: bool) -> Iterator[Event]:
        return pull(
            DEV.name, home=home, token=token, endpoint=hub.url, wait=lambda _: None, **options
        )

    return start


@pytest.fixture
def refused(pulled: Callable[..., Iterator[Event]]) -> Callable[..., DownloadRefused]:
    """What a pull that must fail says."""

    def refuse(**how: Any) -> DownloadRefused:
        with pytest.raises(DownloadRefused) as caught:
            list(pulled(**how))
        return caught.value

    return refuse
