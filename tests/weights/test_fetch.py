"""`linocut pull` against a real server, with the real client, in good weather and in bad."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linocut.errors import CheckpointNotFound, DownloadRefused
from linocut.weights.fetch import Again, Checking, Event, Licence, Planned, Progress, Pulled, pull
from linocut.weights.files import listing, open_checkpoint
from linocut.weights.language_model import find_language_model

NAME = "flux-2-dev"
Pull = Callable[..., Iterator[Event]]
Refuse = Callable[..., DownloadRefused]


def unread(hub: Any) -> set[str]:
    """Text shards that hold nothing of the embeddings and layers 0 to 29."""
    index = json.loads(hub.files["text_encoder/model.safetensors.index.json"])
    every = set(index["weight_map"].values())
    needed = {
        shard
        for name, shard in index["weight_map"].items()
        if ".embed_tokens." in name
        or (".model.layers." in name and int(name.split(".layers.")[1].split(".")[0]) < 30)
    }
    return {f"text_encoder/{shard}" for shard in every - needed}


def weights(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if ".safetensors" in path.name and "index" not in path.name
    ]


def test_a_checkpoint_is_fetched_whole_and_opens(hub: Any, home: Path, pulled: Pull) -> None:
    hub.gate = "gated"
    told = list(pulled())
    assert isinstance(told[0], Licence)
    assert "non-commercial" in told[0].text
    planned = next(event for event in told if isinstance(event, Planned))
    assert planned.here < planned.size
    progress = [event for event in told if isinstance(event, Progress)]
    assert progress[-1].done_in_all == planned.size
    assert all(event.done <= event.size for event in progress)
    assert told[-1] == Pulled(home / NAME)
    checkpoint = open_checkpoint(NAME, home=home)
    assert checkpoint.config.conditioning.layers == (10, 20, 30)
    assert not list(home.rglob("*.part"))


def test_only_what_is_read_is_fetched(hub: Any, home: Path, pulled: Pull) -> None:
    list(pulled())
    here = {
        path.relative_to(home / NAME).as_posix()
        for path in (home / NAME).rglob("*")
        if path.is_file()
    }
    left = {
        "README.md",
        "flux2-dev.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/generation_config.json",
        *unread(hub),
    }
    assert len(unread(hub)) > 0
    assert {path for path in here if not path.startswith(".")} == set(hub.files) - left


def test_what_only_the_safety_model_reads_is_fetched_when_it_is_asked_for(
    hub: Any, home: Path, pulled: Pull
) -> None:
    plain = next(event for event in pulled() if isinstance(event, Planned))
    told = list(pulled(with_safety_model=True))
    planned = next(event for event in told if isinstance(event, Planned))
    assert find_language_model(open_checkpoint(NAME, home=home)).files
    more = {path for path in unread(hub) if (home / NAME / path).is_file()}
    assert more
    assert more < unread(hub)  # the eyes stay where they are
    assert planned.size == plain.size + sum(len(hub.files[path]) for path in more)
    assert planned.files == plain.files + len(more)


def test_a_later_pull_without_the_option_keeps_what_is_there(
    hub: Any, home: Path, pulled: Pull
) -> None:
    list(pulled(with_safety_model=True))
    hub.requests.clear()
    list(pulled())
    assert not any(hub.fetched(path) for path in hub.files)
    assert find_language_model(open_checkpoint(NAME, home=home)).files


def test_the_disk_must_have_room_for_the_safety_model_too(
    hub: Any, home: Path, pulled: Pull, refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(pulled())
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0))
    list(pulled())  # nothing is missing
    error = refused(with_safety_model=True)
    assert "more are needed" in error.message
    assert error.hint.endswith("then: linocut pull flux-2-dev --with-safety-model")


def test_the_demo_has_no_safety_model(home: Path) -> None:
    with pytest.raises(DownloadRefused, match="linocut-mini has no safety model"):
        list(pull("linocut-mini", home=home, token=None, with_safety_model=True))


def test_a_second_pull_fetches_nothing_and_shows_no_licence(hub: Any, pulled: Pull) -> None:
    list(pulled())
    hub.requests.clear()
    told = list(pulled())
    assert not any(hub.fetched(path) for path in hub.files)
    assert [type(event) for event in told] == [Planned, Pulled]
    assert told[0].here == told[0].size


def test_a_broken_connection_goes_on_where_it_stopped(hub: Any, home: Path, pulled: Pull) -> None:
    shard = hub.first_shard
    hub.cuts[shard] = [5000, 7000]
    told = list(pulled())
    assert hub.fetched(shard) == ["", "bytes=5000-", "bytes=12000-"]
    assert [event.file for event in told if isinstance(event, Again)] == [shard, shard]
    assert (home / NAME / shard).read_bytes() == hub.files[shard]


def test_a_stopped_pull_goes_on_where_it_stopped(hub: Any, home: Path, pulled: Pull) -> None:
    shard = hub.first_shard
    hub.cuts[shard] = [5000]
    started = pulled()
    for event in started:
        if isinstance(event, Again):
            break
    started.close()
    assert not (home / NAME / shard).exists()
    told = list(pulled())
    assert hub.fetched(shard) == ["", "bytes=5000-"]
    assert next(event for event in told if isinstance(event, Planned)).here > 5000
    assert (home / NAME / shard).read_bytes() == hub.files[shard]


def test_a_server_without_ranges_sends_the_file_again(hub: Any, home: Path, pulled: Pull) -> None:
    shard = hub.first_shard
    hub.cuts[shard], hub.ignores_ranges = [5000], True
    list(pulled())
    assert (home / NAME / shard).read_bytes() == hub.files[shard]


def test_a_connection_that_brings_nothing_is_given_up_and_what_is_here_is_kept(
    hub: Any, home: Path, refused: Refuse
) -> None:
    shard = hub.first_shard
    hub.cuts[shard] = [5000, *[0] * 20]
    error = refused()
    assert shard in error.message
    assert "goes on where it stopped" in error.hint
    (part,) = (home / NAME / "transformer").glob("*.part")
    assert part.stat().st_size == 5000


@pytest.mark.parametrize("which", ["large", "small"])
def test_damage_on_the_way_is_noticed_and_fetched_again(
    hub: Any, home: Path, which: str, pulled: Pull
) -> None:
    path = hub.first_shard if which == "large" else "vae/config.json"
    hub.damages[path] = 1
    told = list(pulled())
    assert hub.fetched(path) == ["", ""]
    assert (home / NAME / path).read_bytes() == hub.files[path]
    damaged = [event for event in told if isinstance(event, Again)]
    assert [(event.file, event.reason) for event in damaged] == [(path, "it arrived damaged")]


def test_damage_that_stays_is_reported_and_leaves_no_file_of_that_name(
    hub: Any, home: Path, refused: Refuse
) -> None:
    shard = hub.first_shard
    hub.damages[shard] = 2
    error = refused()
    assert f"{shard} arrived damaged twice" in error.message
    assert not (home / NAME / shard).exists()


def test_a_file_longer_than_stated_is_not_read_to_its_end(hub: Any, refused: Refuse) -> None:
    shard = hub.first_shard
    hub.claims[shard] = 1000
    assert f"{shard} arrived damaged twice" in refused().message


def test_a_file_that_rotted_between_two_pulls_is_found_where_its_size_changed(
    hub: Any, home: Path, pulled: Pull
) -> None:
    list(pulled())
    shard = home / NAME / hub.first_shard
    shard.write_bytes(shard.read_bytes()[:-1])
    list(pulled())
    assert shard.read_bytes() == hub.files[hub.first_shard]


def test_files_that_were_copied_there_are_verified_and_kept(
    hub: Any, home: Path, dev_like: Path, pulled: Pull
) -> None:
    shard = hub.first_shard
    good, bad = home / NAME / shard, home / NAME / shard.replace("-00001-", "-00002-")
    good.parent.mkdir(parents=True)
    good.write_bytes(hub.files[shard])
    bad.write_bytes(bytes(len(hub.files[shard.replace("-00001-", "-00002-")])))
    told = list(pulled())
    assert hub.fetched(shard) == []
    assert Checking(shard) in told
    assert bad.read_bytes() == (dev_like / shard.replace("-00001-", "-00002-")).read_bytes()


def test_a_disk_that_is_too_small_is_said_before_anything_but_the_indexes_is_fetched(
    hub: Any, home: Path, refused: Refuse
) -> None:
    hub.claims[hub.first_shard] = 10**18
    error = refused()
    assert "1000000000.0 GB more are needed" in error.message
    assert "are free" in error.message
    assert "LINOCUT_HOME" in error.hint
    fetched = {path for path in hub.files if hub.fetched(path)}
    assert {path for path in fetched if not path.endswith("index.json")} == set()
    assert {path for path in hub.files if (home / NAME / path).exists()} == fetched


def test_the_small_files_count_against_the_space_too(
    hub: Any, home: Path, pulled: Pull, refused: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(pulled())
    (home / NAME / "tokenizer/tokenizer.json").unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0))
    assert "more are needed" in refused().message
    assert not (home / NAME / "tokenizer/tokenizer.json").exists()


def test_what_is_here_already_counts_against_the_space_that_is_needed(
    hub: Any, home: Path, monkeypatch: pytest.MonkeyPatch, pulled: Pull
) -> None:
    list(pulled())
    shard = hub.first_shard
    (home / NAME / shard).unlink()
    size = len(hub.files[shard])
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(size))
    list(pulled())
    assert (home / NAME / shard).is_file()


class Usage:
    """What `shutil.disk_usage` gives, of which only `free` is read."""

    def __init__(self, free: int) -> None:
        self.free = free


def test_a_repository_that_lacks_a_file_says_which(hub: Any, home: Path, refused: Refuse) -> None:
    del hub.files["vae/config.json"]
    assert "lacks vae/config.json" in refused().message
    assert not home.exists()


def test_two_pulls_at_once_keep_out_of_each_others_way(
    home: Path, pulled: Pull, refused: Refuse
) -> None:
    first = pulled()
    for event in first:
        if isinstance(event, Planned):
            break
    assert "another linocut pull" in refused().message
    list(first)
    assert open_checkpoint(NAME, home=home).name == NAME


def test_a_pull_of_klein_says_what_is_missing(home: Path) -> None:
    with pytest.raises(DownloadRefused, match=r"Qwen3, is not supported yet"):
        list(pull("flux-2-klein-4b", home=home, token=None))


def test_an_unknown_name_lists_the_known_ones(home: Path) -> None:
    with pytest.raises(CheckpointNotFound) as caught:
        list(pull("flux-3", home=home, token=None))
    assert NAME in caught.value.hint


def test_the_listing_shows_what_is_here(home: Path, pulled: Pull) -> None:
    before = {listed.known.name: listed for listed in listing(home)}
    assert before[NAME].folder is None
    list(pulled())
    after = {listed.known.name: listed for listed in listing(home)}
    assert (after[NAME].folder, after[NAME].problem) == (home / NAME, "")
    assert after[NAME].size > 10**5
    weights(home)[0].unlink()
    assert "lacks" in {listed.known.name: listed.problem for listed in listing(home)}[NAME]
