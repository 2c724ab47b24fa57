"""`linocut pull`: a known checkpoint from the Hugging Face hub, no more of it than is read.

A file has its own name only once its checksum was verified; until then it ends in `.part`, and a
broken download goes on where it stopped. What can be refused is refused before anything is fetched
but the indexes, a hundred kilobytes that say what there is to fetch.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import WeakFileLock

from linocut.catalog import CHECKPOINTS, FLUX_DEV_LICENCE, Known
from linocut.errors import CheckpointInvalid, CheckpointNotFound, DownloadRefused
from linocut.fields import read_fields
from linocut.weights.files import DIFFUSERS_FILES, folder_of
from linocut.weights.hub import Remote, Repository
from linocut.weights.language_model import PULL_OPTION, pull_command
from linocut.weights.names import language_names, text_names
from linocut.weights.parts import read_index

ENDPOINT: Final = "https://huggingface.co"
RECORD: Final = ".linocut-pull.json"  # path -> checksum of every file that was verified
LOCK: Final = ".linocut-pull.lock"
INDEX_OF_ALL: Final = "model_index.json"
NEEDED: Final = (INDEX_OF_ALL, *DIFFUSERS_FILES)
WELCOME: Final = (
    "tokenizer/tokenizer_config.json",
    "tokenizer/chat_template.jinja",
    "linocut.json",
)
WEIGHTS: Final = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
INDEXES: Final = {part: f"{part}/{stem}.safetensors.index.json" for part, stem in WEIGHTS.items()}
MAX_BREAKS: Final = 5  # connections in a row that brought nothing
NOTICES: Final = {
    FLUX_DEV_LICENCE: (
        "FLUX.2 [dev] is given by Black Forest Labs under the FLUX Non-Commercial License:\n"
        "  - the weights are for non-commercial, non-production use; other use needs a licence "
        "from Black Forest Labs;\n"
        "  - the pictures are yours and may be used commercially, but not to train a competing "
        "model;\n"
        "  - whoever shows pictures to others keeps a content filter running or looks at every "
        "picture first, and says that they are AI-generated where the law asks for it.\n"
        "This is a summary; the text that counts comes with the weights, and is at {page}."
    )
}


@dataclass(frozen=True, slots=True)
class Licence:
    """Shown once, before anything of a licensed checkpoint is fetched."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be there in the end, in bytes and files, and how many bytes already are."""

    folder: Path
    files: int
    size: int
    here: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `size` bytes of a file are here, and `done_in_all` of what was planned."""

    file: str
    done: int
    size: int
    done_in_all: int


@dataclass(frozen=True, slots=True)
class Checking:
    """A whole file is being held against its checksum."""

    file: str


@dataclass(frozen=True, slots=True)
class Again:
    """A file could not be had in one go; why, and that it goes on."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """All is here and verified."""

    folder: Path


Event = Licence | Planned | Progress | Checking | Again | Pulled


def pull(
    name: str,
    *,
    home: Path,
    token: str | None,
    endpoint: str = ENDPOINT,
    with_safety_model: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Fetches a known checkpoint into `home`, telling how it goes.

    token: the user's Hugging Face token, if there is one. with_safety_model: also what only the
    prompt check by the text encoder reads. wait: how to sleep between two tries.
    Raises CheckpointNotFound for an unknown name, and DownloadRefused, which says in words what
    is in the way and what to do; all that can be known beforehand is said beforehand.
    """
    known = _pullable(name)
    if known.package:
        yield Pulled(_installed(known, with_safety_model=with_safety_model))
        return
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise DownloadRefused(
            "the Hugging Face token on this computer is none: it is empty, or has spaces or "
            "letters that no token has",
            hint="hf auth login, or correct HF_TOKEN",
        )
    folder = home / known.name
    hub = Repository(known.repo, known.revision, endpoint.rstrip("/"), token)
    with hub.in_words(folder):
        remotes = hub.files()
        small = _small_files(remotes, known)
        shown = [remote for path, remote in remotes.items() if path.startswith("transformer/")]
        hub.check_access(max(shown, key=lambda remote: remote.size))
        if known.licence in NOTICES and not (folder / RECORD).is_file():
            page = f"{hub.endpoint}/{hub.name}"
            yield Licence(known.licence, NOTICES[known.licence].format(page=page))
        with _alone(folder):
            download = _Download(hub, folder, _read_record(folder), wait)
            for path in (INDEX_OF_ALL, *INDEXES.values()):
                for _ in download.fetch(remotes[path]) if path in remotes else ():
                    pass  # too small to be shown
            shards = _shards(remotes, known, folder, with_safety_model=with_safety_model)
            again = pull_command(known.name, with_safety_model=with_safety_model)
            yield from _all(download, [*small, *map(remotes.__getitem__, shards)], again)
    yield Pulled(folder)


def _pullable(name: str) -> Known:
    known = CHECKPOINTS.get(name)
    if known is None:
        raise CheckpointNotFound(
            f"{name!r} is no checkpoint that linocut knows",
            hint=f"known names: {', '.join(CHECKPOINTS)}",
        )
    if known.unsupported:
        raise DownloadRefused(f"{name} cannot be used yet: {known.unsupported}")
    return known


def _installed(known: Known, *, with_safety_model: bool) -> Path:
    if with_safety_model:
        raise DownloadRefused(
            f"{known.name} has no safety model: its text encoder cannot answer questions",
            hint=f"leave {PULL_OPTION} out",
        )
    folder = folder_of(known, None)
    if folder is None:
        raise DownloadRefused(f"{known.name} comes as a package", hint=known.install)
    return folder


def _small_files(remotes: Mapping[str, Remote], known: Known) -> list[Remote]:
    """Configurations, indexes, tokenizer and licence: what is read besides weights."""
    absent = [path for path in NEEDED if path not in remotes]
    if absent:
        raise DownloadRefused(f"{known.repo} lacks {', '.join(absent)}")
    licences = [path for path in remotes if "/" not in path and path.upper().startswith("LICENSE")]
    wanted = (*NEEDED, *WELCOME, *INDEXES.values(), *licences)
    return [remotes[path] for path in wanted if path in remotes]


def _shards(
    remotes: Mapping[str, Remote], known: Known, folder: Path, *, with_safety_model: bool
) -> list[str]:
    """The weight files that are read, by path; of the text encoder, what the taps need, or all."""
    paths = []
    for part, stem in WEIGHTS.items():
        if INDEXES[part] not in remotes:
            paths.append(f"{part}/{stem}.safetensors")
            continue
        promised = read_index(folder / INDEXES[part])
        needed = frozenset(promised)
        if part == "text_encoder" and with_safety_model:
            needed = language_names(promised)
        elif part == "text_encoder":
            needed = text_names(promised, depth=max(known.text_layers))
        paths += [f"{part}/{shard}" for shard in sorted({promised[name] for name in needed})]
    if absent := [path for path in paths if path not in remotes]:
        raise DownloadRefused(f"{known.repo} lacks {', '.join(absent)}")
    return paths


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps every other pull out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(WeakFileLock(folder / LOCK, timeout=1))
        except TimeoutError as error:
            raise DownloadRefused(
                f"another linocut pull is writing to {folder}", hint="let it finish"
            ) from error
        yield


def _all(download: _Download, plan: Sequence[Remote], again: str) -> Iterator[Event]:
    """Announces the plan, refuses it if the disk is too small, and carries it out.

    again: the command to go on with.
    """
    folder = download.folder
    size, here = sum(remote.size for remote in plan), sum(map(download.here, plan))
    yield Planned(folder, len(plan), size, here)
    missing, free = size - here, shutil.disk_usage(folder).free
    if missing > free:
        raise DownloadRefused(
            f"{_amount(missing)} more are needed on the disk of {folder}, and "
            f"{_amount(free)} are free ({_amount(here)} that are here already are counted)",
            hint=f"free {_amount(missing - free)}, or set LINOCUT_HOME to a folder on a "
            f"larger disk; then: {again}",
        )
    for remote in plan:
        others = here - download.here(remote)
        yield from download.fetch(remote, others)
        here = others + remote.size


@dataclass(frozen=True, slots=True)
class _Download:
    """A folder that is being filled from a repository; `record` holds what was verified."""

    hub: Repository
    folder: Path
    record: dict[str, str]
    wait: Callable[[float], None]

    def here(self, remote: Remote) -> int:
        """How many bytes of a file are on this disk already."""
        whole = _size(self.folder / remote.path)
        return whole if whole == remote.size else min(_size(self._part(remote)), remote.size)

    def fetch(self, remote: Remote, others: int = 0) -> Iterator[Progress | Checking | Again]:
        """Gets one file and verifies it. `others`: bytes of all other files that are here."""
        target, part = self.folder / remote.path, self._part(remote)
        if _size(target) == remote.size:
            if self.record.get(remote.path) == remote.digest:
                return
            yield Checking(remote.path)  # somebody else put it there
            if remote.is_in(target):
                self._verified(remote)
                return
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        for is_last in (False, True):
            yield from self._receive(remote, part, others)
            yield Checking(remote.path)
            if remote.is_in(part):
                part.replace(target)
                self._verified(remote)
                return
            part.write_bytes(b"")
            if not is_last:
                yield Again(remote.path, "it arrived damaged")
        raise DownloadRefused(
            f"{remote.path} arrived damaged twice: its checksum is not {remote.digest}",
            hint="pull again later; a proxy on the way may be altering files",
        )

    def _receive(self, remote: Remote, part: Path, others: int) -> Iterator[Progress | Again]:
        """Fetches until the part is as large as the file, across broken connections."""
        breaks = 0
        while (before := _size(part)) < remote.size:
            reason = "the connection ended early"
            try:
                for done in self.hub.receive(remote, part):
                    yield Progress(remote.path, done, remote.size, others + done)
            except httpx2.TransportError as error:
                reason = str(error) or type(error).__name__
            except HfHubHTTPError as error:
                reason = f"the hub answered {error.response.status_code}"
                if error.response.status_code < 500:
                    raise
            if _size(part) >= remote.size:
                return
            breaks = breaks + 1 if _size(part) <= before else 1
            if breaks > MAX_BREAKS:
                raise DownloadRefused(
                    f"{remote.path}: {reason}, {breaks} times without a byte; "
                    f"{_amount(before)} of {_amount(remote.size)} are here",
                    hint="pull again when the network is better: it goes on where it stopped",
                )
            yield Again(remote.path, reason)
            self.wait(min(2.0**breaks, 30.0))

    def _part(self, remote: Remote) -> Path:
        # The checksum in the name keeps the beginnings of two versions of a file apart.
        return self.folder / f"{remote.path}.{remote.digest[:12]}.part"

    def _verified(self, remote: Remote) -> None:
        self.record[remote.path] = remote.digest
        written = self.folder / f"{RECORD}.part"
        written.write_text(json.dumps(self.record, indent=1))
        written.replace(self.folder / RECORD)


def _read_record(folder: Path) -> dict[str, str]:
    """What an earlier pull verified; nothing if its record is not sound, so that it is redone."""
    try:
        record = read_fields(folder / RECORD).values
    except CheckpointInvalid:
        return {}
    return {path: digest for path, digest in record.items() if isinstance(digest, str)}


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
