"""One repository on the Hugging Face hub: its files, and their bytes. Refusals come in words.

Requests go through `huggingface_hub`: its session, its headers, its errors. Its own download
function is not used, because since 1.31 it starts an interrupted file again from its first byte
(huggingface_hub issue 4196), and a shard of FLUX.2 [dev] has ten gigabytes.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from linocut.errors import DownloadRefused

CHUNK: Final = 4 * 2**20
TIMEOUT: Final = 30.0  # seconds without a byte
_LARGE: Final = re.compile(r"[0-9a-f]{64}")  # SHA-256 of a file in large-file storage
_SMALL: Final = re.compile(r"[0-9a-f]{40}")  # git's SHA-1 of a file in the repository itself

NO_TOKEN: Final = (
    "{name} is given only to those who have accepted its licence, and there is no Hugging Face "
    "token on this computer",
    "accept the licence at {page}, then: hf auth login   (a read token), then pull again",
)
# What the hub answers (kind of error, statuses or any), in words, and what to do. The first counts.
ANSWERS: Final[tuple[tuple[type[Exception], tuple[int, ...], str, str], ...]] = (
    (
        GatedRepoError,
        (403,),
        "the owner of the token on this computer has not accepted the licence of {name}, or the "
        "token may not read gated repositories",
        "accept the licence at {page} as the same user, then pull again",
    ),
    (RevisionNotFoundError, (), "{name} has no revision {revision}", ""),
    (RemoteEntryNotFoundError, (), "{name} lacks a file: {path}", ""),
    (
        RepositoryNotFoundError,
        (404,),
        "{endpoint} has no repository {name}",
        "check HF_ENDPOINT; a private repository needs: hf auth login",
    ),
    (
        HfHubHTTPError,
        (401,),
        "{endpoint} does not accept the token on this computer, or needs one; it may have expired",
        "hf auth login   (a read token, from {endpoint}/settings/tokens), then pull again",
    ),
    (
        HfHubHTTPError,
        (403,),
        "the token on this computer may not read {name}",
        "give the token the permission to read it at {endpoint}/settings/tokens, then pull again",
    ),
    (
        HfHubHTTPError,
        (429,),
        "{endpoint} asks for patience: too many requests",
        "wait some minutes and pull again; what is here is kept",
    ),
    (
        HfHubHTTPError,
        (),
        "{endpoint} answers {status} for {path}",
        "pull again later; what is here is kept",
    ),
)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file in the repository; `digest` is its checksum, SHA-256 or git's own SHA-1."""

    path: str
    size: int
    digest: str

    def is_in(self, file: Path) -> bool:
        """Whether a file on disk has exactly these bytes."""
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        if _LARGE.fullmatch(self.digest):
            found = hashlib.sha256()
        else:
            found = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with file.open("rb") as opened:
            while block := opened.read(CHUNK):
                found.update(block)
        return found.hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one revision; nothing is read from the environment."""

    name: str
    revision: str
    endpoint: str
    token: str | None

    def files(self) -> dict[str, Remote]:
        """Every file by its path. One that the hub states no checksum for is left out."""
        # huggingface_hub reads a token from the environment for None; False means none.
        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        try:
            listed = api.model_info(
                self.name, revision=self.revision, files_metadata=True, timeout=TIMEOUT
            )
        except HfHubHTTPError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._no_hub() from error
        files = {}
        for sibling in listed.siblings or ():
            digest = str(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id)
            known = _LARGE.fullmatch(digest) or _SMALL.fullmatch(digest)
            if known and type(sibling.size) is int and sibling.size >= 0:
                files[sibling.rfilename] = Remote(sibling.rfilename, sibling.size, digest)
        return files

    def check_access(self, remote: Remote) -> None:
        """Nothing, or an error if this file would not be given."""
        get_hf_file_metadata(
            self._url(remote), token=self.token or False, timeout=TIMEOUT, endpoint=self.endpoint
        )

    def receive(self, remote: Remote, file: Path) -> Iterator[int]:
        """Appends to `file` what it lacks and yields its size every now and then.

        Ends when the connection ends, which may be too early; call again to go on.
        """
        here = file.stat().st_size if file.is_file() else 0
        headers = build_hf_headers(token=self.token or False)
        # A compressed answer has other offsets than the file.
        headers |= {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
        with get_session().stream(
            "GET", self._url(remote), headers=headers, timeout=TIMEOUT
        ) as response:
            hf_raise_for_status(response)
            if not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
                here = 0  # the whole file is coming, whatever was asked for
            with file.open("ab" if here else "wb") as opened:
                for chunk in response.iter_bytes():  # as they come: a break loses none of them
                    opened.write(chunk)
                    if opened.tell() - here >= CHUNK:
                        here = opened.tell()
                        yield here
                    if opened.tell() > remote.size:
                        break
                yield opened.tell()

    @contextmanager
    def in_words(self, folder: Path) -> Iterator[None]:
        """Whatever the hub, the network or the disk refuses, as a DownloadRefused."""
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except OfflineModeIsEnabled as error:
            raise DownloadRefused(
                "downloads are switched off here (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
                hint="unset it and pull again",
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadRefused(
                f"{self.endpoint} cannot be reached: {error or type(error).__name__}",
                hint="check the network and pull again; what is here is kept",
            ) from error
        except OSError as error:
            raise _disk_refused(folder, error) from error

    def _url(self, remote: Remote) -> str:
        return str(
            hf_hub_url(self.name, remote.path, revision=self.revision, endpoint=self.endpoint)
        )

    def _no_hub(self) -> DownloadRefused:
        return DownloadRefused(
            f"{self.endpoint} does not answer like a Hugging Face hub",
            hint="check HF_ENDPOINT, and whether a proxy or a login page stands in between",
        )

    def _refused(self, error: Any) -> DownloadRefused:
        response = error.response
        words = {
            "name": self.name,
            "revision": self.revision,
            "endpoint": self.endpoint,
            "page": f"{self.endpoint}/{self.name}",
            "path": response.url.path,
            "status": response.status_code,
        }
        message, hint = next(
            (message, hint)
            for kind, statuses, message, hint in ANSWERS
            if isinstance(error, kind) and (not statuses or response.status_code in statuses)
        )
        if self.token is None and isinstance(error, GatedRepoError):
            message, hint = NO_TOKEN
        return DownloadRefused(message.format(**words), hint=hint.format(**words))


def _disk_refused(folder: Path, error: OSError) -> DownloadRefused:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadRefused(
            f"the disk of {folder} is full; what has been fetched is kept",
            hint="free some space, or set LINOCUT_HOME to a folder on a larger disk; then go on",
        )
    return DownloadRefused(
        f"{error.filename or folder} cannot be written: {error.strerror or error}",
        hint="set LINOCUT_HOME to a folder that can be",
    )
