"""Who may see the stage: the browser that has used the one-time key, and no page of another origin.

A key is exchanged for a cookie, once. Cookies do not tell ports apart: the browser sends them to every server on this
host name. So the stage lives below a secret path, and the cookie is for that path only.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from enum import Enum
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "greenroom_stage"
REFUSED = "This page needs the address that `greenroom dev --stage` printed; `greenroom status` prints a fresh one.\n"
CSP = "frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OWN_SITES = ("same-origin", "none")  # Sec-Fetch-Site: another port is "same-site"; an address typed by hand is "none"


class Verdict(Enum):
    """What becomes of a request."""

    ALLOWED = "allowed"
    ENTERS = "enters"  # with the key: it becomes a cookie
    REFUSED = "refused"


@dataclass(frozen=True)
class Knock:
    """What the guard looks at in a request. `hosts` and `origins` are all values of these headers."""

    path: str
    hosts: tuple[str, ...]
    origins: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()  # Sec-Fetch-Site
    key: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    safe: bool = True  # a GET over HTTP

    @classmethod
    def of(cls, scope: Scope) -> Knock:
        """Return what an ASGI scope says."""
        headers = Headers(scope=scope)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        return cls(
            path=scope["path"],
            hosts=tuple(headers.getlist("host")),
            origins=tuple(headers.getlist("origin")),
            sites=tuple(headers.getlist("sec-fetch-site")),
            key=query.get("key", [""])[0],
            cookie=_cookie("; ".join(headers.getlist("cookie"))),
            safe=scope["type"] == "http" and scope["method"] == "GET",
        )


def judge(knock: Knock, *, port: int, base: str, key: str, cookies: Iterable[str]) -> Verdict:
    """Return what becomes of a request. `base` is the secret path; `key` is good now, and so are the `cookies`."""
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if len(knock.hosts) != 1 or knock.hosts[0] not in hosts:
        return Verdict.REFUSED  # a name that was rebound to this machine
    if any(origin != f"http://{knock.hosts[0]}" for origin in knock.origins):
        return Verdict.REFUSED
    if knock.safe and knock.path == "/" and _same(knock.key, key):
        return Verdict.ENTERS
    if any(site not in OWN_SITES for site in knock.sites):
        return Verdict.REFUSED
    known = [_same(knock.cookie, cookie) for cookie in cookies]  # all of them: the time tells nothing
    below = knock.path == base or knock.path.startswith(f"{base}/")
    return Verdict.ALLOWED if below and any(known) else Verdict.REFUSED


class Guard:
    """An ASGI application in front of the page. `note_address` is called with each address that is good from now on."""

    def __init__(self, app: ASGIApp, *, port: int, base: str, note_address: Callable[[str], None]) -> None:
        self._app = app
        self._port = port
        self._base = base
        self._note_address = note_address
        self._cookies: list[str] = []
        self._key = ""
        self._renew_key()

    @property
    def address(self) -> str:
        """The address with the key that is good now."""
        return f"http://127.0.0.1:{self._port}/?key={self._key}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, exchange its key, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        verdict = judge(Knock.of(scope), port=self._port, base=self._base, key=self._key, cookies=self._cookies)
        if verdict is Verdict.ALLOWED:
            await self._app(scope, receive, _with_headers(send))
        elif verdict is Verdict.ENTERS:
            await self._enter()(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: the client receives 403
        else:
            await PlainTextResponse(REFUSED, 403)(scope, receive, _with_headers(send))

    def _enter(self) -> RedirectResponse:
        cookie = secrets.token_urlsafe(32)
        self._cookies.append(cookie)
        self._renew_key()
        answer = RedirectResponse(f"{self._base}/", 303, {"Cache-Control": "no-store"})
        answer.set_cookie(COOKIE, cookie, path=self._base, httponly=True, samesite="strict")
        return answer

    def _renew_key(self) -> None:
        self._key = secrets.token_urlsafe(24)
        self._note_address(self.address)


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds our headers and lets no other origin read an answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            _harden(message)
        await send(message)

    return sending


def _harden(message: MutableMapping[str, Any]) -> None:
    message.setdefault("headers", [])
    headers = MutableHeaders(scope=message)
    for name in [name for name in headers if name.startswith("access-control-")]:
        del headers[name]
    for name, value in HEADERS.items():
        headers[name] = value


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(one: str, other: str) -> bool:
    return bool(other) and compare_digest(one.encode(), other.encode())
