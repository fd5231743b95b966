"""Who may see the stage: the browser with the key, and no page of another origin."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

pytest.importorskip("nicegui", reason="the extra `stage` is not installed")

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from greenroom.stage.guard import COOKIE, Guard, Knock, Verdict, judge
from greenroom.stage.serve import QuietServer
from greenroom.waiting import until

PORT, BASE, KEY, SESSION = 4711, "/stage-secret", "right-key", "right-cookie"
ENTERING = Knock("/", (f"127.0.0.1:{PORT}",), key=KEY)
INSIDE = Knock(f"{BASE}/", (f"127.0.0.1:{PORT}",), cookie=SESSION)


def verdict(knock: Knock) -> Verdict:
    return judge(knock, port=PORT, base=BASE, key=KEY, cookies=["another", SESSION])


def test_the_key_lets_in_and_the_cookie_allows():
    """Under both names of this machine, and for assets as for the page."""
    assert verdict(ENTERING) is Verdict.ENTERS
    assert verdict(INSIDE) is Verdict.ALLOWED
    assert verdict(replace(INSIDE, hosts=(f"localhost:{PORT}",))) is Verdict.ALLOWED
    assert verdict(replace(INSIDE, path=f"{BASE}/_nicegui/x.js", sites=("same-origin",))) is Verdict.ALLOWED
    assert verdict(replace(INSIDE, origins=(f"http://127.0.0.1:{PORT}",), safe=False)) is Verdict.ALLOWED


@pytest.mark.parametrize("knock", [ENTERING, INSIDE], ids=["with the key", "with the cookie"])
@pytest.mark.parametrize(
    "other",
    [
        {"hosts": (f"rebound.example:{PORT}",)},
        {"hosts": ("127.0.0.1",)},
        {"hosts": ("127.0.0.1:4712",)},
        {"hosts": (f"127.0.0.1.example:{PORT}",)},
        {"hosts": ()},
        {"hosts": (f"127.0.0.1:{PORT}", f"127.0.0.1:{PORT}")},
        {"origins": ("http://127.0.0.1:4712",)},
        {"origins": (f"http://localhost:{PORT}",)},
        {"origins": (f"https://127.0.0.1:{PORT}",)},
        {"origins": ("null",)},
        {"origins": (f"http://127.0.0.1:{PORT}", "http://evil.example")},
        {"key": "", "cookie": ""},
        {"key": "wrong", "cookie": "wrong"},
    ],
    ids=str,
)
def test_all_else_is_refused(knock, other):
    """A rebound name, a page on another port, a sandboxed one, no key, and a wrong one."""
    assert verdict(replace(knock, **other)) is Verdict.REFUSED


def test_the_cookie_is_good_below_the_secret_path_only():
    """Another path, a path that begins alike, and the address of the key."""
    for path in ("/", "/_nicegui/x.js", f"{BASE}-other/", "/stage-other/"):
        assert verdict(replace(INSIDE, path=path)) is Verdict.REFUSED


@pytest.mark.parametrize("site", ["same-site", "cross-site", "strange"])
def test_a_page_of_another_origin_cannot_load_parts_of_it(site):
    """An `<img>` of a page on another port sends the cookie and no Origin, but the browser says where it stands."""
    assert verdict(replace(INSIDE, sites=(site,))) is Verdict.REFUSED


def test_the_key_is_for_opening_the_page_only():
    """Not for a POST or a websocket, not on another path, and never an empty one."""
    assert verdict(replace(ENTERING, safe=False)) is Verdict.REFUSED
    assert verdict(replace(ENTERING, path=f"{BASE}/")) is Verdict.REFUSED
    assert judge(replace(ENTERING, key=""), port=PORT, base=BASE, key="", cookies=[""]) is Verdict.REFUSED


def _page(request):
    return PlainTextResponse("the page", headers={"Access-Control-Allow-Origin": "*"})


async def _echo(websocket):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@asynccontextmanager
async def guarded():
    """Yield the URL of a guarded application, its addresses (the latest is good), and a client without cookies."""
    listening = socket.create_server(("127.0.0.1", 0))
    port, addresses = listening.getsockname()[1], []
    app = Starlette(routes=[Route(f"{BASE}/", _page), WebSocketRoute(f"{BASE}/ws", _echo)])
    guard = Guard(app, port=port, base=BASE, note_address=addresses.append)
    server = QuietServer(uvicorn.Config(guard, log_config=None, timeout_graceful_shutdown=1))
    task = asyncio.ensure_future(server.serve(sockets=[listening]))
    await until(lambda: server.started, "the server to start", timeout_s=5)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
            yield f"http://127.0.0.1:{port}", addresses, client
    finally:
        server.should_exit = True
        await task


async def got(client, address: str, headers=None) -> aiohttp.ClientResponse:
    """Return an answer that has been read."""
    async with client.get(address, headers=headers, allow_redirects=False) as answer:
        await answer.read()
        return answer


async def entered(client, address: str) -> tuple[aiohttp.ClientResponse, dict[str, str]]:
    """Use a key; return the answer and the header with its cookie."""
    answer = await got(client, address)
    cookie = answer.cookies.get(COOKIE)
    return answer, {"Cookie": f"{COOKIE}={cookie.value}"} if cookie else {}


async def test_a_key_works_once_and_the_next_one_is_another():
    """It becomes a cookie that no script can read, for this path only; the redirect's address has no key."""
    async with guarded() as (url, addresses, client):
        first, cookie = await entered(client, addresses[0])
        again, _ = await entered(client, addresses[0])
        second, _ = await entered(client, addresses[1])
        page = await got(client, f"{url}{BASE}/", cookie)

        assert (first.status, again.status, second.status, page.status) == (303, 403, 303, 200)
        assert first.headers["Location"] == f"{BASE}/"
        said = first.headers["Set-Cookie"].lower()
        assert all(part in said for part in ("httponly", "samesite=strict", f"path={BASE}"))
        assert len(set(addresses)) == 3


async def test_without_the_cookie_nothing_is_said():
    """403 for the page, the websocket and everything else, and no header that lets another origin read it."""
    async with guarded() as (url, addresses, client):
        _, cookie = await entered(client, addresses[-1])
        for headers in ({}, {**cookie, "Host": "rebound.example"}, {**cookie, "Origin": "http://127.0.0.1:1"}):
            for path in ("/", f"{BASE}/", "/anything"):
                answer = await got(client, url + path, headers)

                assert answer.status == 403, (path, headers)
                assert "the page" not in await answer.text()
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await client.ws_connect(f"{url}{BASE}/ws", headers=headers)


async def test_an_answer_is_hardened():
    """No frame around it, no referrer, and no other origin, though the application allowed all of them."""
    async with guarded() as (url, addresses, client):
        _, cookie = await entered(client, addresses[-1])

        page = await got(client, f"{url}{BASE}/", cookie)

        assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name in page.headers if name.lower().startswith("access-control-")]


async def test_the_websocket_works_with_the_cookie():
    """Its handshake comes from the page itself."""
    async with guarded() as (url, addresses, client):
        _, cookie = await entered(client, addresses[-1])
        async with client.ws_connect(f"{url}{BASE}/ws", headers={**cookie, "Origin": url}) as socket_:
            await socket_.send_str("hello")

            assert (await socket_.receive()).data == "hello"
