"""Who may call a route: dependencies for its signature, `caller: Reader`, `Drawer` or `Admin`.

The key comes as `API-KEY`, as `Authorization: Bearer`, or as `x-key`; the first that is there
counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from linocut.errors import Forbidden
from linocut.server.context import Service
from linocut.server.keyring import Caller

API_KEY: Final = APIKeyHeader(
    name="API-KEY", scheme_name="ApiKey", description="A key of this server.", auto_error=False
)
BEARER: Final = HTTPBearer(
    scheme_name="Bearer", description="The same key as a bearer token.", auto_error=False
)
X_KEY: Final = APIKeyHeader(
    name="x-key", scheme_name="XKey", description="The same key once more.", auto_error=False
)


async def sent_key(
    api_key: Annotated[str | None, Security(API_KEY)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
    x_key: Annotated[str | None, Security(X_KEY)],
) -> str:
    """The key as it was sent; "" for none."""
    # It waits for nothing, but FastAPI takes what is not async to a thread and back.
    return api_key or (bearer.credentials if bearer else "") or x_key or ""


async def caller(request: Request, key: Annotated[str, Depends(sent_key)]) -> Caller:
    """Who is calling; InvalidKey."""
    service: Service = request.app.state.service
    return await service.keyring.caller(key.strip(), address(request))


def needs(scope: str) -> Callable[[Caller], Awaitable[Caller]]:
    """The dependency that lets through whoever may do this; Forbidden for the others."""

    async def allowed(found: Annotated[Caller, Depends(caller)]) -> Caller:
        if not found.may(scope):
            raise Forbidden(
                f"this API key may not do this: it has {', '.join(sorted(found.scopes))}, "
                f"and this needs {scope}",
                hint=f"linocut keys add NAME --scopes {scope} makes a key that may",
            )
        return found

    return allowed


def address(request: Request) -> str:
    """Where the request comes from, as far as is known."""
    return request.client.host if request.client else ""


Reader = Annotated[Caller, Depends(needs("read"))]
Drawer = Annotated[Caller, Depends(needs("generate"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
