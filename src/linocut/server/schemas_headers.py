"""The headers of answers, for OpenAPI: what each says, and which answers carry it.

Left out is what every answer has and no program decides by: lengths, types, and what `edge.SAFE`
tells browsers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linocut.server.edge import REQUEST_ID
from linocut.server.idempotency import REPLAYED

Header = dict[str, Any]


def _said(about: str, *, always: bool = False, **schema: Any) -> Header:
    """always: wherever it is described, it is sent."""
    required = {"required": True} if always else {}
    return {"description": about, **required, "schema": {"type": "string", **schema}}


HEADERS: Final[Mapping[str, Header]] = {
    REQUEST_ID: _said("The request's name, as it was sent or a new one; for the operator.",
                      always=True),
    "Location": _said("The record, for the next call.", format="uri-reference"),
    "Retry-After": _said("In how many seconds to ask again.", type="integer", minimum=1),
    "WWW-Authenticate": _said("How a key may be sent.", always=True),
    "RateLimit-Policy": _said("Requests (`q`) of the key in so many seconds (`w`); "
                              "absent for keys without a limit.",
                              examples=['"create";q=180;w=60']),
    "RateLimit": _said("How many are left (`r`), and in how many seconds all are back (`t`).",
                       examples=['"create";r=179;t=1']),
    REPLAYED: _said("The Idempotency-Key was used before: this is the record it led to.",
                    enum=["true"]),
    "Preference-Applied": _said("What was heeded of `Prefer`.",
                                examples=["respond-async", "wait=20"]),
    "Link": _said('The next page, as `rel="next"`; absent on the last one.'),
    "X-Accel-Buffering": _said("Has proxies pass events on as they come.", enum=["no"]),
    "ETag": _said("The file's SHA-256, in quotes.", always=True, pattern='^"[0-9a-f]{64}"$'),
    "Accept-Ranges": _said("Single ranges are served.", always=True, enum=["bytes"]),
    "Content-Range": _said("Which bytes of how many.", always=True,
                           pattern=r"^bytes (\d+-\d+|\*)/\d+$"),
    "Content-Disposition": _said("The file's name, where it is saved.", always=True),
    "Cache-Control": _said("It may be kept for as long as its link holds.", always=True),
    "Cross-Origin-Resource-Policy": _said("Pages of any origin may show it.", always=True,
                                          enum=["cross-origin"]),
}  # fmt: skip

_COUNTED: Final = ("RateLimit-Policy", "RateLimit")
_ENDED: Final = (*_COUNTED, REPLAYED)
_ASKED: Final = (*_ENDED, "Preference-Applied", "Location")
_PIECES: Final = ("Accept-Ranges", "Cross-Origin-Resource-Policy")
_FILE: Final = (*_PIECES, "ETag", "Cache-Control", "Content-Disposition")
_FILES: Final[Mapping[int, tuple[str, ...]]] = {
    **dict.fromkeys((200, 304), _FILE),
    206: (*_FILE, "Content-Range"),
    416: (*_PIECES, "Content-Range"),
}
OF_STATUS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
OF_OPERATION: Final[Mapping[str, Mapping[int, tuple[str, ...]]]] = {
    "createPicture": {
        200: (*_ASKED, "X-Accel-Buffering"),
        202: (*_ASKED, "Retry-After"),
        **dict.fromkeys((400, 409, 500, 503), _ENDED),
        **dict.fromkeys((403, 413, 415, 422, 429), _COUNTED),
    },
    "uploadAsset": dict.fromkeys((200, 400, 413, 415, 429, 500, 503), _COUNTED),
    "listRecords": {200: ("Link",)},
    "streamEvents": {200: ("X-Accel-Buffering",)},
    "getFile": _FILES,
    "headFile": _FILES,
}


def has_its_own(operation: str, status: int) -> bool:
    """Whether this operation's answer carries more than other operations' of that status."""
    return status in OF_OPERATION.get(operation, {})


def headers(status: int, *, of: str = "") -> dict[str, Header]:
    """A response's `headers`, by reference. of: the operation; none for what all may answer."""
    own = OF_OPERATION.get(of, {}).get(status, ())
    names = sorted({REQUEST_ID, *OF_STATUS.get(status, ()), *own})
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
