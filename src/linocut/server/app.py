"""The application: routes, errors and edges, wired around one `Service`."""

from __future__ import annotations

from functools import cache, partial
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware

from linocut.server import health, problems
from linocut.server.context import Service
from linocut.server.edge import ALLOWED, EXPOSED, Cap, Crowd, Local, Safe, Watch
from linocut.server.routes import ROUTERS
from linocut.server.schemas import describe

TITLE: Final = "linocut"
DESCRIPTION: Final = (
    "Pictures from words with FLUX.2 [dev], on your own machine. Send your key as `API-KEY`."
)
PREFLIGHT_SECONDS: Final = 600


def create_app(service: Service) -> FastAPI:
    """The whole API over these parts; it starts nothing and ends nothing."""
    app = routed()
    app.state.service = service
    app.state.glance = health.Glance(service)
    problems.register(app)
    _wrap(app, service)
    return app


def routed() -> FastAPI:
    """The routes and their description alone, without anything behind them."""
    app = FastAPI(
        title=TITLE,
        version=version("linocut"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (*ROUTERS, health.router):
        app.include_router(router)
    app.openapi = cache(partial(describe, app))  # type: ignore[method-assign]
    return app


def _wrap(app: FastAPI, service: Service) -> None:
    """What is added last sees a request first."""
    settings = service.settings
    app.add_middleware(Cap, most=settings.max_body)
    app.add_middleware(Crowd, most=settings.max_connections)
    if not settings.auth:
        hosts = (*settings.allowed_hosts, urlsplit(settings.public_url).hostname or "")
        origins = settings.cors_origins
        app.add_middleware(Local, hosts=filter(None, hosts), origins=origins)
    # The framework's own stands outside of everything: its answers would have no name and no CORS.
    app.add_middleware(ServerErrorMiddleware, handler=problems.unexpected)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_SECONDS,
        )
    app.add_middleware(Safe)
    app.add_middleware(Watch, metrics=service.metrics)
