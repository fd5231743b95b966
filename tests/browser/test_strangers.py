"""What a page of somebody else gets from the stage: a page on another port, and a name that leads to this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.async_api import async_playwright

from tests.browser.stage import staged  # noqa: F401 - a fixture
from tests.chromium import find_chromium, options

REBOUND = "rebound.example"
# A page that tries everything by which one page reaches another: requests with cookies, a socket, a frame, a script.
TRIES = """async (stage) => {
  const socket = stage.replace("http", "ws") + "_nicegui_ws/socket.io/?EIO=4&transport=websocket";
  const got = {};
  const asked = async (name, options) => {
    try { const answer = await fetch(stage, options); got[name] = [answer.status, (await answer.text()).length]; }
    catch (error) { got[name] = "refused"; }
  };
  await asked("fetch", { credentials: "include" });
  await asked("no-cors", { mode: "no-cors", credentials: "include" });
  await asked("post", { method: "POST", credentials: "include", body: "x" });
  got.socket = await new Promise((done) => {
    const opened = new WebSocket(socket);
    opened.onmessage = () => done("spoke");
    opened.onerror = opened.onclose = () => done("refused");
  });
  got.script = await new Promise((done) => {
    const script = document.createElement("script");
    script.src = stage + "_nicegui/components.js";
    script.onload = () => done("loaded");
    script.onerror = () => done("refused");
    document.head.append(script);
  });
  got.frame = await new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.src = stage;
    frame.onload = () => { try { done(frame.contentDocument.body.textContent.length); } catch { done("closed"); } };
    document.body.append(frame);
  });
  return got;
}"""
NOTHING = {"fetch": "refused", "no-cors": "refused", "post": "refused", "socket": "refused", "script": "refused"}


@contextmanager
def page_of_somebody_else() -> Iterator[tuple[int, list[str]]]:
    """Serve an empty page on a port of its own; yield the port, and the cookies that it is sent."""
    cookies: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>somebody else</title><body></body>")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, cookies
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", REBOUND])
async def test_a_strangers_page_gets_nothing(staged, host):  # noqa: F811
    """The browser holds the stage's cookie, and the page knows port and path: it gets no byte, no socket, no frame.

    The stage's own page does get all of that, in the same browser.
    """
    rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=find_chromium(), args=[*options(), rules])
        context = await browser.new_context()
        own = await context.new_page()
        await staged.enter(own)
        secret = own.url
        with page_of_somebody_else() as (port, cookies):
            stranger = await context.new_page()
            await stranger.goto(f"http://{host}:{port}/")
            got = await stranger.evaluate(TRIES, secret)
            rebound = await stranger.goto(secret.replace("127.0.0.1", REBOUND))
        known = await own.evaluate(TRIES, secret)
        await browser.close()

    frame = got.pop("frame")
    assert got == NOTHING
    assert frame == "closed"
    assert set(cookies) == {""}
    assert rebound is not None
    assert rebound.status == 403
    assert known["fetch"][0] == 200
    assert known["socket"] == "spoke"
    assert known["fetch"][1] > 1000
