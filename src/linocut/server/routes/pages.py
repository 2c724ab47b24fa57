"""`/`, `/playground` and `/docs`: plain pages, served as they lie in the package.

Nothing on them comes from another origin, and nothing runs that is not a file of ours.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from linocut.errors import NotFound

router = APIRouter(include_in_schema=False)

PAGES: Final = "linocut.server"
KINDS: Final = {
    "playground.html": "text/html; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "playground.js": "text/javascript; charset=utf-8",
    "repertoire.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "sse.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
READ: Final = ["GET", "HEAD"]


@router.api_route("/", methods=READ)
@router.api_route("/playground", methods=READ)
async def playground(request: Request) -> Response:
    """The page to draw on."""
    return _page(request, "playground.html")


@router.api_route("/docs", methods=READ)
async def docs(request: Request) -> Response:
    """The API's description for people."""
    return _page(request, "docs.html")


@router.api_route("/pages/{name}", methods=READ)
async def part(request: Request, name: str) -> Response:
    """What the pages are made of."""
    if name not in KINDS or name.endswith(".html"):
        raise NotFound("there is no such page")
    return _page(request, name)


def _page(request: Request, name: str) -> Response:
    content = read(name)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=KINDS[name], headers=headers)


@cache
def read(name: str) -> bytes:
    """A file of the pages."""
    return resources.files(PAGES).joinpath("pages", name).read_bytes()
