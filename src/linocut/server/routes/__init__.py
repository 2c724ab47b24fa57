"""What can be asked of the server, a file a subject; `ROUTERS` is all of it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from linocut.server.routes import (
    assets,
    events,
    features,
    files,
    models,
    pages,
    records,
    results,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    features.router,
    assets.router,
    results.router,
    records.router,
    events.router,
    files.router,
    models.router,
    pages.router,
)
