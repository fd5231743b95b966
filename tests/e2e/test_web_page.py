"""What a web page of somebody else can do to a dev environment, in a real Chromium: nothing.

Matrix allows every origin, so the page's requests do reach the homeserver. The page knows its URL and the path of the
state folder.
"""

from __future__ import annotations

import http.server
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greenroom.people.accounts import SHARED_SECRET_REGISTER
from greenroom.waiting import scaled
from tests.chromium import find_chromium
from tests.e2e.least_bots import LIVE_BOT

pytestmark = pytest.mark.browser
NAMES = ("alice", "carol", "dave", "bot")
CLIENT = "/_matrix/client/v3"
TIMEOUT_S = 30.0
# Both names lead to loopback. The second looks to Chromium like a page from elsewhere.
HOSTS = ("127.0.0.1", "elsewhere.example")
# What the page gets of a file: two errors, an empty frame, and after its click on a link it is still the same page.
NOTHING = {
    "fetch": [0, "TypeError: Failed to fetch"],
    "script": "refused",
    "style": "refused",
    "frame": "",
    "link": "http:",
}

# The page sends requests, reads files in every way that a page has, and posts to its server what it got.
PAGE = """<!doctype html>
<title>A page of somebody else</title>
<script>
const wanted = WANTED;

async function send([url, body]) {
    const json = {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
    try {
        const answer = await fetch(url, body === null ? {} : json);
        return [answer.status, await answer.text()];
    } catch (error) {
        return [0, String(error)];
    }
}

function embed(tag, address, url) {
    return new Promise(resolve => {
        const element = Object.assign(document.createElement(tag), {rel: "stylesheet"});
        element.onerror = () => resolve("refused");
        element.onload = () => resolve("loaded");
        element[address] = url;
        document.documentElement.append(element);
    });
}

// Chromium tells nothing of a frame that it refuses, so a later frame shows that the first one had its time.
async function frame(url) {
    const first = Object.assign(document.createElement("iframe"), {src: url});
    document.documentElement.append(first);
    await embed("iframe", "src", "/empty");
    try {
        return first.contentWindow.document.documentElement.innerText;
    } catch (error) {
        return error.name;
    }
}

function follow(url) {
    const link = document.createElement("a");
    link.href = url;
    document.documentElement.append(link);
    link.click();
    return location.protocol;
}

async function all() {
    const got = {answers: {}, files: {}};
    for (const [name, request] of Object.entries(wanted.requests)) got.answers[name] = await send(request);
    for (const url of wanted.files) {
        got.files[url] = {
            fetch: await send([url, null]),
            script: await embed("script", "src", url),
            style: await embed("link", "href", url),
            frame: await frame(url),
            link: follow(url),
        };
    }
    await fetch("/got", {method: "POST", body: JSON.stringify(got)});
}
all();
</script>
"""


@dataclass(frozen=True)
class Dev:
    """A running dev environment: its folder, its URL, and everything that a stranger must not know."""

    folder: Path
    url: str
    passwords: dict[str, str]
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The program of a Chromium."""
    return find_chromium()


@pytest.fixture
def dev(monkeypatch, tmp_path) -> Iterator[Dev]:
    """A running dev environment."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("# known to all\n")
    (folder / "my_bot.py").write_text(LIVE_BOT)
    try:
        greenroom(folder, "dev", "--backend", "process", "--detach", "--bot", f"{sys.executable} my_bot.py")
        state = json.loads((folder / ".greenroom/dev.json").read_text())
        passwords = {person["user_id"][1:].partition(":")[0]: person["password"] for person in state["people"]}
        secrets = json.loads((folder / ".greenroom/homeserver/secrets.json").read_text())
        yield Dev(folder, state["homeserver"]["url"], passwords, (*passwords.values(), *secrets.values()))
    finally:
        greenroom(folder, "down")


def greenroom(folder: Path, *args: str) -> None:
    """Run a task in a folder."""
    command = [sys.executable, "-m", "greenroom", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def visit(chromium: str, profile: Path, host: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Serve the page on a port of its own and open it in a fresh Chromium. Return what the page got."""
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(PAGE.replace("WANTED", json.dumps(wanted)).encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with opened(chromium, profile, f"http://{host}:{server.server_port}/") as log:
                return results.get(timeout=scaled(TIMEOUT_S))
        except queue.Empty:
            pytest.fail(f"the page told nothing within {scaled(TIMEOUT_S):.0f} s; Chromium said:\n{log.read_text()}")
        finally:
            server.shutdown()


@contextmanager
def opened(chromium: str, profile: Path, url: str) -> Iterator[Path]:
    """Open a page in a headless Chromium. Yield the browser's log, and end the browser afterwards."""
    command = [chromium, "--headless", f"--user-data-dir={profile}", *options(), url]
    log = profile.with_suffix(".log")
    with log.open("wb") as stream:
        browser = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
        try:
            yield log
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


def options() -> list[str]:
    """Return the options that make Chromium talk to loopback only. Root needs it without a sandbox."""
    rules = "--host-resolver-rules=MAP elsewhere.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    quiet = ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    return [rules, *quiet, *(["--no-sandbox"] if os.geteuid() == 0 or os.environ.get("CI") else [])]


def login(url: str, name: str, password: str) -> list[Any]:
    """Return a login as a request of the page."""
    who = {"type": "m.id.user", "user": name}
    return [f"{url}{CLIENT}/login", {"type": "m.login.password", "identifier": who, "password": password}]


def logins(dev: Dev) -> dict[str, list[Any]]:
    """Return logins with the passwords of earlier versions and with what people try first."""
    guesses = ("{}-qa-pass", "{}-dev-pass", "{}", "password", "greenroom", "")
    return {
        f"{name} with {guess.format(name)!r}": login(dev.url, name, guess.format(name))
        for name in NAMES
        for guess in guesses
    }


def registrations(dev: Dev) -> dict[str, list[Any]]:
    """Return the ways to get an account. The last request logs in with it."""
    newcomer = {"username": "mallory", "password": "mine"}
    with urllib.request.urlopen(f"{dev.url}{SHARED_SECRET_REGISTER}") as answer:  # open to everybody
        nonce = json.load(answer)["nonce"]
    signed = {**newcomer, "nonce": nonce, "admin": True, "mac": "f" * 40}
    return {
        "register": [f"{dev.url}{CLIENT}/register", {**newcomer, "auth": {"type": "m.login.dummy"}}],
        "register a guest": [f"{dev.url}{CLIENT}/register?kind=guest", {}],
        "register an administrator": [f"{dev.url}{SHARED_SECRET_REGISTER}", signed],
        "log in as the newcomer": login(dev.url, "mallory", "mine"),
    }


def reads(dev: Dev) -> dict[str, list[Any]]:
    """Return requests that ask the homeserver for a file of the state folder."""
    state = dev.folder / ".greenroom/dev.json"
    above = "..%2f" * (len(state.parts) + 8)
    paths = [
        "/dev.json",
        "/..%2fdev.json",
        f"/_matrix/static/{above}{str(state)[1:]}",
        f"/_matrix/client/v1/media/preview_url?url=file://{state}",
        f"/_matrix/media/v3/preview_url?url=file://{state}",
        "/_synapse/admin/v2/users",
    ]
    return {path: [f"{dev.url}{path}", None] for path in paths}


@pytest.mark.parametrize("host", HOSTS)
def test_a_web_page_gets_no_login_no_account_and_no_secret(chromium, dev, tmp_path, host):
    """The page's requests arrive: the right password works, but no guess, no registration and no way to a file does."""
    state = dev.folder / ".greenroom"
    names = ("dev.json", "dev.env", "homeserver/secrets.json", "")
    files = [(state / name).as_uri() for name in names]
    known = {name: login(dev.url, name, dev.passwords[name]) for name in NAMES}
    guessed, registered, read = logins(dev), registrations(dev), reads(dev)

    control = visit(chromium, tmp_path / "knows", host, {"requests": known, "files": []})
    got = visit(chromium, tmp_path / "guesses", host, {"requests": {**guessed, **registered, **read}, "files": files})

    assert {name: status for name, (status, _) in control["answers"].items()} == dict.fromkeys(NAMES, 200)
    for name in (*guessed, *registered):
        status, text = got["answers"][name]
        assert status == 403, (name, text)
    for name in read:
        status, text = got["answers"][name]
        assert status == 0 or 400 <= status < 500, (name, status, text)
    for url in files:
        assert got["files"][url] == NOTHING, url
    assert not [secret for secret in dev.secrets if secret in json.dumps(got)]


def test_the_same_browser_reads_a_file_that_its_owner_opens(chromium, dev, tmp_path):
    """The files are there, and Chromium can show them: only the page may not read them."""
    state = dev.folder / ".greenroom/dev.json"
    command = [chromium, "--headless", f"--user-data-dir={tmp_path / 'owner'}", *options(), "--dump-dom"]

    seen = subprocess.run([*command, state.as_uri()], capture_output=True, text=True, timeout=60, check=True)

    assert dev.passwords["bot"] in seen.stdout
