"""What a training needs travels in small files, and arrives as it was."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linocut_training import autoencoder, parcel, rasterise, tiles, transformer, views
from linocut_training.concepts import CONCEPTS, DRAWN_SOURCES
from linocut_training.plans import Plan


@pytest.fixture
def work(training_folder, toy, cutouts) -> Path:
    """A training that is ready for its transformer, its cut-outs larger than they are drawn."""
    cutouts(training_folder)
    model = autoencoder.Autoencoder(toy.autoencoder)
    model.bn.num_batches_tracked.fill_(1)
    state = {"model": model.state_dict(), "average": autoencoder.Average(model).values}
    torch.save(state | {"optimisers": ["much"]}, training_folder / "autoencoder.pt")
    return training_folder


def test_a_training_goes_on_elsewhere_from_what_travelled(
    work, toy, alone, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(parcel, "PART_BYTES", 10_000)
    parts = parcel.pack(work, tmp_path / "parcel")
    assert len(parts) > 2
    assert all(part.stat().st_size <= 10_000 for part in parts)
    there = tmp_path / "there"
    parcel.unpack(tmp_path / "parcel", there)
    assert not (there / "latents").exists()
    monkeypatch.setattr(views, "grids", lambda: (views.SQUARE, (8, 9)))
    rasterise.make_derived(there)
    views.encode(0, 1, there, autoencoder.trained(there))
    views.join(there, 1)
    views.spread(there, autoencoder.trained(there))
    tiles.encode_share(0, 1, there)
    tiles.finish(there, autoencoder.trained(there), 1)
    transformer.train(
        0, 1, there, Plan(steps=1, guided_steps=1, styled_steps=0, shaped_steps=0, batch=2)
    )
    assert transformer.averaged(there).transformer.config == toy.transformer


def test_a_cutout_travels_at_the_size_it_is_drawn_at(work, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parcel, "CUTOUT_SIDE", 24)
    parcel.pack(work, tmp_path / "parcel")
    parcel.unpack(tmp_path / "parcel", tmp_path / "there")
    for source in DRAWN_SOURCES:
        name = f"cutouts/{source}/{CONCEPTS[1].key}.png"
        with Image.open(work / name) as large, Image.open(tmp_path / "there" / name) as small:
            assert small.size == (24, 24)
            wanted = np.asarray(large.resize((24, 24), Image.Resampling.BOX))
            assert np.abs(wanted[6:18, 6:18].astype(int) - np.asarray(small)[6:18, 6:18]).max() < 3


def test_cutouts_alone_travel_too(cutouts, tmp_path) -> None:
    cutouts(tmp_path / "work")
    parcel.pack(tmp_path / "work", tmp_path / "parcel")
    parcel.unpack(tmp_path / "parcel", tmp_path / "there")
    assert [folder.name for folder in (tmp_path / "there").iterdir()] == ["cutouts"]


def test_a_folder_comes_back_whole_and_what_stands_there_stays(tmp_path, monkeypatch) -> None:
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "weights").write_bytes(bytes(range(256)) * 200)
    (made / "note.txt").write_text("new")
    monkeypatch.setattr(parcel, "PART_BYTES", 20_000)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "part-99").write_text("of an earlier parcel")
    monkeypatch.setattr(sys, "argv", ["parcel", "wrap", str(made), str(tmp_path / "back")])
    parcel.main()
    here = tmp_path / "here"
    here.mkdir()
    (here / "note.txt").write_text("old")
    parcel.unpack(tmp_path / "back", here)
    assert (here / "deep" / "weights").read_bytes() == bytes(range(256)) * 200
    assert (here / "note.txt").read_text() == "old"


def test_nothing_to_carry_is_said(tmp_path) -> None:
    with pytest.raises(SystemExit, match="no part"):
        parcel.unpack(tmp_path, tmp_path / "there")
    with pytest.raises(SystemExit, match="no files"):
        parcel.wrap(tmp_path, tmp_path / "out")
