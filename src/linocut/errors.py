"""Every error that linocut raises on purpose, as one tree. Imports nothing.

    LinocutError
    ├── InvalidRequest          what was asked for cannot be drawn
    │   └── InvalidPicture      bytes that are no picture, or one outside the limits
    ├── CheckpointError         the weights, or the folder they should be in
    │   ├── CheckpointNotFound  nothing of that name or path here
    │   ├── CheckpointInvalid   something is there, but it is not whole or not FLUX.2
    │   └── DownloadRefused     the hub would not give it, or it would not fit on the disk
    ├── DoesNotFit              more memory than there is, or a mode that cannot run here
    └── OutputError             the picture was drawn but could not be saved

Each class has a stable `code`; each message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class LinocutError(Exception):
    """Root of the tree: a message in words, a `hint` on what to do next, a stable `code`."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), self.message, self.hint)


def _revive(kind: type[LinocutError], message: str, hint: str) -> LinocutError:
    return kind(message, hint=hint)


class InvalidRequest(LinocutError):
    """A value outside its range; `field` names it."""

    code = "invalid_request"
    exit_code = 2

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        return _revive_request, (type(self), self.message, self.field, self.hint)


def _revive_request(
    kind: type[InvalidRequest], message: str, field: str, hint: str
) -> InvalidRequest:
    return kind(message, field=field, hint=hint)


class InvalidPicture(InvalidRequest):
    """Bytes that do not decode as a picture, or a picture outside the limits."""

    code = "invalid_picture"
    exit_code = 3


class CheckpointError(LinocutError):
    """Something about a checkpoint; see the subclasses."""

    code = "checkpoint"
    exit_code = 4


class CheckpointNotFound(CheckpointError):
    """No checkpoint of that name or at that path."""

    code = "checkpoint_not_found"


class CheckpointInvalid(CheckpointError):
    """A folder or file that is not a whole FLUX.2 checkpoint in a safe format."""

    code = "checkpoint_invalid"


class DownloadRefused(CheckpointError):
    """The hub refused, or the disk is too small."""

    code = "download_refused"
    exit_code = 5


class DoesNotFit(LinocutError):
    """The request or the mode needs what this machine does not have."""

    code = "does_not_fit"
    exit_code = 6


class OutputError(LinocutError):
    """The picture could not be written; nothing half-written was left behind."""

    code = "output"
    exit_code = 7
