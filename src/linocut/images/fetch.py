"""Pictures from addresses that strangers name, fetched without becoming their errand boy.

Every request, and every hop of a redirect, is checked anew: scheme, port, name; then the name is
looked up once, every address it has must be public, and the connection goes to the very address
that was checked, while TLS and the Host header keep the name. Nothing of ours goes along: no
cookies, no credentials, no proxy settings. Time and bytes are bounded from the first look-up on.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, cast

import httpx2

from linocut.errors import InvalidPicture
from linocut.images.addresses import is_host, is_host_and_port, is_numeric, is_public
from linocut.request import MOST_SENT

MAX_REDIRECTS: Final = 3
MAX_ADDRESSES: Final = 3  # of those a name has; all are checked, this many are tried
MAX_URL: Final = 8192
_PORTS: Final = {"http": 80, "https": 443}
_DATA_URI: Final = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.ASCII | re.IGNORECASE)
_ESCAPED: Final = {"%2B": "+", "%2b": "+", "%2F": "/", "%2f": "/", "%3D": "=", "%3d": "="}
_HINT: Final = "use an address that anyone can open, upload the picture, or send it as a data URI"
# One sentence for absent and private names: it tells nobody which names exist inside.
_NOT_PUBLIC: Final = "its host has no public address"
_HEADERS: Final = {
    "Accept": "image/png, image/jpeg, image/webp",
    "Accept-Encoding": "identity",  # a picture gains nothing, and an unpacked one has no bound
    "User-Agent": "linocut",
}
# Of their own, so that a name server that does not answer holds up no other work in threads.
_LOOKUPS: Final = ThreadPoolExecutor(8, thread_name_prefix="lookup")

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """What may be fetched.

    enabled: False refuses every address (uploads and data URIs remain).
    ports: of ordinary addresses.   allowed_hosts: "host:port" entries, in lower case, that are
    reached whatever address and port they have.
    max_bytes: of an answer.   seconds: for everything, from the look-up of the name on.
    """

    enabled: bool = True
    ports: frozenset[int] = frozenset(_PORTS.values())
    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = MOST_SENT
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for entry in self.allowed_hosts:
            if not is_host_and_port(entry):
                raise ValueError(f"allowed_hosts has {entry!r}: write it as host:port")
        if self.max_bytes < 1 or self.seconds <= 0:
            raise ValueError("max_bytes and seconds must be above 0")


class AddressRefused(httpx2.ConnectError):
    """The address is none that may be reached from here; nothing was sent to it."""


class AnswerTooLong(httpx2.ReadError):
    """The answer has more bytes than are read."""


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name as the system knows them, best first; OSError without any."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, ask)
    return [str(entry[4][0]) for entry in found]


async def fetch_picture(
    url: str,
    policy: FetchPolicy,
    *,
    resolve: Resolver = look_up,
    hold: Callable[[int], None] = lambda _: None,
) -> bytes:
    """The file at this address; InvalidPicture says what stood in the way and what to do.

    hold: told of the bytes of each piece as it comes; what it raises ends the fetching.
    """
    try:
        if len(url) > MAX_URL:
            raise _not_fetched(f"its address has more than {MAX_URL:,} characters")
        async with asyncio.timeout(policy.seconds), guarded_client(policy, resolve) as client:
            return await _follow(client, httpx2.URL(url), hold)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InvalidPicture("the picture's address is no valid URL", hint=_HINT) from error
    except (AddressRefused, AnswerTooLong) as error:
        raise _not_fetched(str(error)) from error
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise _not_fetched(f"it took longer than {policy.seconds:g} s") from error
    except httpx2.HTTPError as error:
        raise _not_fetched("its server cannot be reached, or broke off") from error


def guarded_client(policy: FetchPolicy, resolve: Resolver = look_up) -> httpx2.AsyncClient:
    """A client that reaches public addresses only, follows no redirect and keeps no cookies.

    AddressRefused, an httpx2.HTTPError, for all others; the policy's seconds and bytes hold for
    each request with its answer. Also for webhooks. To be used by `async with`.
    """
    return httpx2.AsyncClient(
        transport=PinnedTransport(policy, resolve),
        headers=_HEADERS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        timeout=httpx2.Timeout(policy.seconds, connect=policy.seconds / MAX_ADDRESSES),
        trust_env=False,
    )


def parse_data_uri(text: str, max_bytes: int = MOST_SENT) -> bytes:
    """The bytes in a `data:image/png;base64,…` (or jpeg, webp); InvalidPicture if it is no such."""
    start = _DATA_URI.match(text)
    if start is None:
        raise InvalidPicture(
            "the data URI is none of a picture",
            hint="begin it with data:image/png;base64, or the same with jpeg or webp",
        )
    if len(text) > 3 * 4 * (max_bytes // 3 + 1):  # each of its characters may be escaped as %xx
        raise _too_long("the data URI", max_bytes)
    body = text[start.end() :]
    for escaped, sign in _ESCAPED.items():  # nothing else needs it, and `unquote` takes a minute
        body = body.replace(escaped, sign)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError as error:
        raise InvalidPicture(
            "the data URI holds no valid base64", hint="encode it again"
        ) from error
    if len(data) > max_bytes:
        raise _too_long("the data URI", max_bytes)
    return data


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Connects to addresses that were checked, and to no other; each connection is used once.

    (A connection that is kept would be found by its address, and so by another name's request,
    past the check of its certificate.)
    """

    def __init__(self, policy: FetchPolicy, resolve: Resolver = look_up) -> None:
        self._policy = policy
        self._resolve = resolve
        self._inner = httpx2.AsyncHTTPTransport(
            verify=_trusted(), trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, its body bounded; AddressRefused before anything is sent to a wrong place."""
        until = asyncio.get_running_loop().time() + self._policy.seconds
        try:
            async with asyncio.timeout_at(until):
                addresses = await _checked(request.url, self._policy, self._resolve)
                answer = await self._ask(request, addresses)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no answer in time", request=request) from error
        body = cast(httpx2.AsyncByteStream, answer.stream)
        answer.stream = _Bounded(body, self._policy.max_bytes, until)
        return answer

    async def _ask(self, request: httpx2.Request, addresses: Sequence[str]) -> httpx2.Response:
        *others, last = addresses
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await self._inner.handle_async_request(_at(request, address))
        return await self._inner.handle_async_request(_at(request, last))

    async def aclose(self) -> None:
        """Everything that is open is closed."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends, with an error if need be, in time and within its bytes."""

    def __init__(self, body: httpx2.AsyncByteStream, most: int, until: float) -> None:
        self._body = body
        self._left = self._most = most
        self._until = until

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._body)
        while piece := await self._next(pieces):
            self._left -= len(piece)
            if self._left < 0:
                raise AnswerTooLong(f"it is over {_size(self._most)}")
            yield piece

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes:
        try:
            async with asyncio.timeout_at(self._until):
                return await anext(pieces, b"")
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the answer took too long") from error

    async def aclose(self) -> None:
        await self._body.aclose()


async def _follow(
    client: httpx2.AsyncClient, url: httpx2.URL, hold: Callable[[int], None]
) -> bytes:
    """The body at the end of at most three redirects; each is a request that is checked anew."""
    for _ in range(1 + MAX_REDIRECTS):
        async with client.stream("GET", url) as answer:
            if answer.next_request is None:
                return await _body(answer, hold)
            url = answer.next_request.url
    raise _not_fetched(f"it is redirected more than {MAX_REDIRECTS} times")


async def _body(answer: httpx2.Response, hold: Callable[[int], None]) -> bytes:
    if answer.status_code != httpx2.codes.OK:
        raise _not_fetched(f"its server answered {answer.status_code}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _not_fetched("its server sends it compressed, though asked not to")
    pieces = []
    async for piece in answer.aiter_raw():
        hold(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def check_address(address: str, policy: FetchPolicy) -> None:
    """Nothing, or AddressRefused: what can be said against it before its name is looked up.

    Whether anything is fetched at all is not asked here.
    """
    try:
        host, _, is_known = _named(httpx2.URL(address), policy)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise AddressRefused("it is no valid URL") from error
    if not is_known and (not is_host(host) or (is_numeric(host) and not is_public(host))):
        raise AddressRefused(_NOT_PUBLIC)


def _named(url: httpx2.URL, policy: FetchPolicy) -> tuple[str, int, bool]:
    """Host, port, and whether the policy names them; AddressRefused for a URL that never works."""
    if url.scheme not in _PORTS:
        raise AddressRefused("only http and https addresses are fetched")
    if url.userinfo:
        raise AddressRefused("an address with a user name or password is not fetched")
    host, port = url.raw_host.decode("ascii").lower(), url.port or _PORTS[url.scheme]
    is_known = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") in policy.allowed_hosts
    if not is_known and port not in policy.ports:
        raise AddressRefused(f"port {port} is not fetched from")
    return host, port, is_known


async def _checked(url: httpx2.URL, policy: FetchPolicy, resolve: Resolver) -> Sequence[str]:
    """The addresses that may be connected to for this URL; AddressRefused if there is none."""
    if not policy.enabled:
        raise AddressRefused("pictures are not fetched from addresses here")
    host, port, is_known = _named(url, policy)
    try:
        addresses = await resolve(host, port) if is_host(host) else ()
    except (OSError, UnicodeError):
        addresses = ()
    if not addresses or not (is_known or all(map(is_public, addresses))):
        raise AddressRefused(_NOT_PUBLIC)
    return addresses[:MAX_ADDRESSES]


def _at(request: httpx2.Request, address: str) -> httpx2.Request:
    """The same request to an address; its Host header and TLS still speak of the name."""
    name = request.url.raw_host.decode("ascii")
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": name},
    )


@cache
def _trusted() -> ssl.SSLContext:
    """Certificates are checked against the public roots; loading those takes a while, so once."""
    return httpx2.create_ssl_context(trust_env=False)


def _not_fetched(reason: str) -> InvalidPicture:
    return InvalidPicture(f"the picture could not be fetched: {reason}", hint=_HINT)


def _too_long(what: str, most: int) -> InvalidPicture:
    return InvalidPicture(f"{what} is over {_size(most)}", hint="make the picture smaller first")


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1_000_000 else f"{count:,} bytes"
