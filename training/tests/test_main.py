"""One command runs every stage in order, once, and what comes out draws."""

import sys
import time
from functools import partial
from pathlib import Path

import pytest

from linocut.engine import Engine
from linocut.request import ImageRequest
from linocut_training import __main__ as command
from linocut_training import (
    arranged,
    autoencoder,
    card,
    classifier,
    evaluate,
    fetch,
    fidelity,
    parallel,
    parameters,
    plans,
    rasterise,
    ratios,
    record,
    sheets,
    text_encoder,
    tiles,
    views,
)

STAGES = (
    "data", "autoencoder", "text-encoder", "views", "classifier", "transformer", "export",
    "evaluation",
)  # fmt: skip

RESULTS = (
    "objects.npy", "variety.npy", "autoencoder.pt", "text_encoder.pt", "8x8.npy", "8x9.npy",
    "tiles.npy", "transformer.pt",
)  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Calls the command with the folders it needs and any more arguments."""

    def call(*more: str) -> None:
        folders = [("--work", "work"), ("--out", "out"), ("--card", "card")]
        said = [word for flag, name in folders for word in (flag, str(tmp_path / name))]
        monkeypatch.setattr(sys, "argv", ["linocut_training", *said, *more])
        command.main()

    return call


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """The stages that ran, none of which does anything."""
    names: list[str] = []

    def stage(name: str, folders: command.Folders) -> None:
        assert folders.work.is_dir()
        assert (folders.out.name, folders.card.name) == ("out", "card")
        names.append(name)

    stubs = tuple((name, partial(stage, name)) for name, _ in command.STAGES)
    monkeypatch.setattr(command, "STAGES", stubs)
    return names


def test_stages_run_in_their_order_and_say_so(run, ran, capsys) -> None:
    run()
    assert tuple(ran) == STAGES
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["data: started", "data: done, 0 s", "autoencoder: started"]


@pytest.mark.parametrize("last", STAGES)
def test_until_stops_after_its_stage(last, run, ran) -> None:
    run("--until", last)
    assert tuple(ran) == STAGES[: STAGES.index(last) + 1]


def test_only_the_stages_asked_for_run_where_and_as_long_as_said(run, ran, monkeypatch) -> None:
    seen = []
    stages = tuple((name, seen.append) for name, _ in command.STAGES)
    monkeypatch.setattr(command, "STAGES", stages)
    before = time.time()
    run("--only", "views", "export", "--device", "cuda", "--minutes", "2", "--processes", "14")
    assert len(seen) == 2
    assert seen[0].processes == 14
    assert seen[0].stretch.device == "cuda"
    assert 119 < seen[0].stretch.until - before < 180


def test_an_unfinished_training_is_not_exported_unasked(run, ran, capsys) -> None:
    run("--minutes", "0")
    assert tuple(ran) == STAGES[: STAGES.index("transformer") + 1]
    assert "the same command goes on" in capsys.readouterr().out
    ran.clear()
    run("--minutes", "0", "--only", "transformer", "export")
    assert ran == ["transformer", "export"]


@pytest.mark.parametrize(
    ("device", "more", "processes", "plan"),
    [
        ("cpu", (), 3, plans.WHOLE),
        ("cpu", ("--from", "earlier"), 3, plans.GOING_ON),
        ("cpu", ("--from", "earlier", "--plan", "growing"), 3, plans.GROWING),
        ("cpu", ("--from", "earlier", "--plan", "restyling"), 3, plans.RESTYLING),
        ("cpu", ("--from", "earlier", "--plan", "reshaping"), 3, plans.RESHAPING),
        ("cpu", ("--from", "earlier", "--plan", "recalling"), 3, plans.RECALLING),
        ("cpu", ("--from", "earlier", "--plan", "enriching"), 3, plans.ENRICHING),
        ("cpu", ("--from", "earlier", "--plan", "widening"), 3, plans.WIDENING),
        ("cuda", (), 1, plans.on_gpu(plans.WHOLE)),
        ("cuda", ("--from", "earlier", "--plan", "growing"), 1, plans.on_gpu(plans.GROWING)),
    ],
)
def test_how_long_it_trains_depends_on_where_and_from_what(
    device, more, processes, plan, run, tmp_path, monkeypatch
) -> None:
    seen = []
    monkeypatch.setattr(command.shipped, "go_on_from", lambda folder, work: None)
    monkeypatch.setattr(
        parallel, "launch", lambda worker, *given, processes: seen.append((*given, processes))
    )
    run("--only", "transformer", "--device", device, "--processes", "3", *more)
    ((work, asked, stretch, count),) = seen
    assert work == tmp_path / "work"
    assert (asked, stretch.device, count) == (plan, device, processes)


def test_what_several_processes_run_can_be_imported_by_each(run, monkeypatch) -> None:
    # A spawned process does not read the module that `python -m` runs.
    workers = []
    monkeypatch.setattr(parallel, "launch", lambda worker, *_, processes: workers.append(worker))
    monkeypatch.setattr(command.views, "join", lambda work, processes: None)
    monkeypatch.setattr(command.views, "spread", lambda work, model: None)
    monkeypatch.setattr(command.tiles, "finish", lambda work, model, processes: None)
    monkeypatch.setattr(command.autoencoder, "trained", lambda work: None)
    monkeypatch.setattr(command.autoencoder, "pack", lambda *_, side: None)
    run("--only", "autoencoder", "views", "transformer")
    assert len(workers) == 4
    assert not any(worker.__module__.endswith("__main__") for worker in workers)


def test_a_stage_that_fails_ends_the_run(run, ran, monkeypatch) -> None:
    def fails(folders: command.Folders) -> None:
        raise SystemExit("the third fails")

    broken = (*command.STAGES[:2], ("text-encoder", fails), *command.STAGES[3:])
    monkeypatch.setattr(command, "STAGES", broken)
    with pytest.raises(SystemExit, match="the third fails"):
        run()
    assert tuple(ran) == STAGES[:2]


def test_an_unknown_stage_is_refused_with_the_known_ones(run, ran, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--until", "cooking")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in STAGES)
    assert not ran


def test_help_says_what_it_does_and_what_it_takes(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["linocut_training", "--help"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "Every stage leaves its result in the work folder" in said
    assert all(flag in said for flag in ("--work", "--out", "--card", "--until", *STAGES))


def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes every stage take moments, and tells which of the stubbed ones were asked for."""
    asked: list[str] = []
    corpus = ["a red apple", "a banana on blue", "turn it into a sticker"]
    taught = text_encoder.torch.eye(3, text_encoder.TEACHER_WIDTH)
    monkeypatch.setattr(fetch, "fetch", lambda work: asked.append("fetch") or {})
    monkeypatch.setattr(rasterise, "make_variety", lambda tarballs, work: [])
    monkeypatch.setattr(classifier, "train", lambda work: asked.append("classifier"))
    monkeypatch.setattr(
        evaluate, "evaluate", lambda out, work, to: asked.append(f"judge {to.name}")
    )
    monkeypatch.setattr(ratios, "measure", lambda out, work: asked.append(f"canvases {out.name}"))
    monkeypatch.setattr(fidelity, "measure", lambda out, work: asked.append(f"loss {out.name}"))
    monkeypatch.setattr(parameters, "measure", lambda out, work: asked.append(f"ways {out.name}"))
    monkeypatch.setattr(arranged, "measure", lambda out, work: asked.append(f"many {out.name}"))
    monkeypatch.setattr(sheets, "make", lambda out, to: asked.append(f"sheets {to.name}"))
    monkeypatch.setattr(card, "write", lambda work, folder: asked.append(f"card {folder.name}"))
    monkeypatch.setattr(
        record, "write", lambda work, plan, out, folder: asked.append(f"record {folder.name}")
    )
    monkeypatch.setattr(text_encoder, "phrases", lambda work: corpus)
    monkeypatch.setattr(text_encoder, "_teach", lambda corpus, work: taught)
    monkeypatch.setattr(views, "PLACEMENTS", 1)
    monkeypatch.setattr(views, "grids", lambda: (views.SQUARE, (8, 9)))
    pack = autoencoder.pack
    monkeypatch.setattr(
        autoencoder, "pack", lambda folders, target, side: pack(folders, target, 64)
    )
    monkeypatch.setattr(autoencoder, "CROP", 32)
    for module, plan in (
        (autoencoder, {"steps": 2, "batch": 2}),
        (text_encoder, {"steps": 2, "batch": 2}),
    ):
        monkeypatch.setattr(module, "Plan", partial(module.Plan, **plan))
    short = plans.Plan(steps=1, guided_steps=1, styled_steps=1, shaped_steps=1, batch=2)
    monkeypatch.setitem(plans.PLANS, "whole", short)
    return asked


def test_the_whole_recipe_makes_a_checkpoint_that_draws(
    run, toy, alone, cutouts, tmp_path, monkeypatch
) -> None:
    """At toy size, its processes being one and the same: this one."""
    launched: list[str] = []

    def launch(worker, *args: object, processes: int = 2) -> None:
        launched.append(f"{worker.__name__} in {processes}")
        worker(0, 1, *args)

    def draw(tarballs, work: Path) -> list:
        cutouts(work)
        (work / "variety").mkdir()
        for file in (work / "cutouts" / "noto").iterdir():
            (work / "variety" / file.name).write_bytes(file.read_bytes())
        return []

    asked = small(monkeypatch)
    monkeypatch.setattr(rasterise, "make_cutouts", draw)
    monkeypatch.setattr(parallel, "launch", launch)
    monkeypatch.setattr(views, "join", partial(joined, views.join))
    monkeypatch.setattr(tiles, "finish", partial(finished, tiles.finish))
    monkeypatch.setenv("CXX", "no-compiler")  # a minute for a network that trains in milliseconds
    run()
    assert launched == ["train in 2", "encode_share in 2", "encode_share in 2", "train in 2"]
    assert asked == [
        *(
            "fetch",
            "classifier",
            "judge evaluation",
            "canvases out",
            "many out",
            "loss out",
            "ways out",
        ),
        *("sheets evaluation", "card card", "record card"),
    ]
    with Engine.open(tmp_path / "out", device="cpu") as engine:
        assert engine.checkpoint.config == toy
        request = ImageRequest(prompt="a red apple", width=64, height=64, num_inference_steps=1)
        drawn = engine.draw(request).picture
    assert (drawn.width, drawn.height) == (64, 64)
    monkeypatch.setattr(rasterise, "make_cutouts", lambda tarballs, work: [])
    work = tmp_path / "work"
    made = {path: path.stat().st_mtime_ns for path in work.rglob("*.*") if path.name in RESULTS}
    assert len(made) == len(RESULTS)
    run("--until", "transformer")
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert launched[4:] == ["train in 2", "train in 2"]


def joined(join, work: Path, processes: int) -> None:
    """One share where there would have been one a process."""
    assert processes == command.PROCESSES
    join(work, 1)


def finished(finish, work: Path, model: autoencoder.Autoencoder, processes: int) -> None:
    """The same of tiles."""
    assert processes == command.PROCESSES
    finish(work, model, 1)


def test_only_what_is_not_there_is_encoded(run, monkeypatch) -> None:
    launched = []
    monkeypatch.setattr(parallel, "launch", lambda worker, *_, processes: launched.append(worker))
    monkeypatch.setattr(autoencoder, "trained", lambda work: None)
    for module, name in ((views, "join"), (views, "spread"), (tiles, "finish")):
        monkeypatch.setattr(module, name, lambda *_: None)
    for missing, are_encoded, wanted in (
        ([], True, []),
        ([views.SQUARE], True, [views.encode_share]),
        ([], False, [tiles.encode_share]),
    ):
        launched.clear()
        monkeypatch.setattr(views, "not_encoded", lambda work, missing=missing: missing)
        monkeypatch.setattr(tiles, "are_encoded", lambda work, there=are_encoded: there)
        run("--only", "views")
        assert launched == wanted
