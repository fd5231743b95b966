"""The HTTP interface as a client of another language sees it: each operation is answered as docs/openapi.json says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest_asyncio

from docs.render import OPENAPI
from greenroom.faults import fault_proxy
from greenroom.http_interface import Interface, Rehearsal, interface
from greenroom.waiting import NotYet, until

DOCUMENT = json.loads(OPENAPI.read_text())
ECHO_BOT = Path(__file__).parents[1] / "examples" / "nio" / "echo_bot.py"


class Client:
    """Asks the interface, and holds each answer against the document."""

    def __init__(self, session: aiohttp.ClientSession, served: Interface) -> None:
        self.served = served
        self.asked: set[str] = set()
        self._session = session

    async def ask(self, method: str, path: str, expected: int, body: Any = None, **headers: str) -> Any:
        headers = {"Authorization": f"Bearer {self.served.key}", **headers}
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        async with self._session.request(method, self.served.url + path, data=data, headers=headers) as response:
            answer = json.loads(await response.text())
            assert response.status == expected, answer
            if described := self._described(method, path):
                self.asked.add(described["operationId"])
                self._check(described["responses"][str(expected)], response.content_type, answer)
            return answer

    def _described(self, method: str, path: str) -> dict[str, Any]:
        plain = path.partition("?")[0]
        for pattern, methods in DOCUMENT["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", r"[^/]+", pattern), plain):
                return methods.get(method.lower(), {})
        return {}

    def _check(self, described: dict[str, Any], content_type: str, answer: Any) -> None:
        if reference := described.get("$ref"):
            described = DOCUMENT["components"]["responses"][reference.rpartition("/")[2]]
        schema = {**described["content"][content_type]["schema"], "components": DOCUMENT["components"]}
        jsonschema.validate(answer, schema)
        names = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        assert answer.keys() <= names.keys()


@pytest_asyncio.fixture
async def client(greenroom, fresh_homeserver, tmp_path) -> AsyncIterator[Client]:
    """A served rehearsal on a homeserver of its own, and a client that has the key."""
    server = await fresh_homeserver()
    async with AsyncExitStack() as stack:
        faulty, clear = [await stack.enter_async_context(fault_proxy(server)) for _ in range(2)]
        greenroom.record.transcripts += [faulty.transcript, clear.transcript]
        rehearsal = Rehearsal(greenroom, stack, server, faulty, clear, tmp_path / "bundles")
        async with interface(rehearsal) as served, aiohttp.ClientSession() as session:
            yield Client(session, served)


def documented() -> set[str]:
    return {one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()}


async def test_each_documented_operation_is_answered_as_documented(client, tmp_path):
    """From the first person to the bundle, in an order in which each operation makes sense."""
    ask = client.ask
    alice = await ask("POST", "/people", 201, {"name": "alice"})
    assert alice["user_id"] == "@alice:greenroom.test"
    await ask("POST", "/people", 409, {"name": "alice"})
    assert [one["user_id"] for one in (await ask("GET", "/people", 200))["people"]] == ["@alice:greenroom.test"]

    new = {"name": "echo", "command": [sys.executable, str(ECHO_BOT)], "own_folder": True}
    bot = await ask("POST", "/bots", 201, new)
    assert (bot["user_id"], bot["running"], bot["exit_code"]) == ("@echo:greenroom.test", True, None)
    await ask("POST", "/bots", 409, new)
    await ask("POST", "/bots/echo/start", 409)
    killed = await ask("POST", "/bots/echo/kill", 200)
    assert (killed["running"], killed["pid"], killed["exit_code"]) == (False, None, -9)
    again = await ask("POST", "/bots/echo/start", 200)
    assert again["running"]
    assert again["pid"] != bot["pid"]
    stopped = await ask("POST", "/bots/echo/stop", 200)
    assert not stopped["running"]
    assert (await ask("POST", "/bots/echo/restart", 200))["running"]
    assert (await ask("GET", "/bots/echo", 200))["running"]
    assert len((await ask("GET", "/bots", 200))["bots"]) == 1
    await ask("GET", "/bots/echo/log?lines=5", 200)
    await ask("GET", "/bots/echo/log?lines=0", 422)
    await ask("GET", "/bots/none", 404)
    said = await ask("POST", "/bots", 424, {"name": "broken", "command": [sys.executable, "-c", "raise SystemExit(3)"]})
    assert "the bot did not start: ended with exit code 3" in said["detail"]
    missing = await ask("POST", "/bots", 422, {"command": "no-such-program"})
    assert missing["detail"] == "there is no program 'no-such-program' for the bot"

    fault = await ask("POST", "/faults", 201, {"kind": "error", "status": 503, "path": "/sync", "user": bot["user_id"]})
    number = fault["id"]
    await ask("POST", "/faults", 201, {"kind": "offline"})  # it ends the open sync; the next meets the older fault

    async def hit() -> bool | NotYet:
        seen = await ask("GET", f"/faults/{number}", 200)
        return seen["hits"] > 0 or NotYet(f"{seen['hits']} hits")

    await until(hit, "the fault to hit a sync")
    causes = (await ask("GET", "/bots/echo/causes", 200))["causes"]
    assert any("[503 on /sync by @echo:greenroom.test]" in cause["headline"] for cause in causes)
    assert not (await ask("DELETE", f"/faults/{number}", 200))["in_force"]
    assert [one["in_force"] for one in (await ask("GET", "/faults", 200))["faults"]] == [False, True]
    assert [one["in_force"] for one in (await ask("DELETE", "/faults", 200))["faults"]] == [False, False]
    await ask("DELETE", "/faults/7", 404)
    wrong = await ask("POST", "/faults", 422, {"kind": "delay", "seconds": "long"})
    assert wrong["where"] == "seconds"

    failed = await ask("GET", f"/transcript?path=/sync&user={bot['user_id']}", 200)
    assert 503 in {entry["status"] for entry in failed["entries"]}
    assert (await ask("GET", f"/transcript?since={failed['next']}&writes=true", 200))["entries"] == []

    assert (await ask("GET", "/homeserver", 200))["state"] == "running"
    await ask("POST", "/homeserver/resume", 409)
    for action, state in {"pause": "paused", "resume": "running", "restart": "running", "stop": "stopped"}.items():
        assert (await ask("POST", f"/homeserver/{action}", 200))["state"] == state
    await ask("POST", "/homeserver/start", 200)
    assert (await ask("POST", "/homeserver/kill", 200))["state"] == "stopped"
    await ask("POST", "/homeserver/start", 200)

    bundle = await ask("POST", "/bundles", 201, {"name": "my test", "reason": "two answers"})
    kept = {file.name: file.read_text() for file in Path(bundle["path"]).iterdir()}
    assert "two answers" in kept["failure.txt"]
    assert "503 on /sync" in kept["http.txt"]
    assert "echo.log" in kept
    assert not [name for name, text in kept.items() if alice["access_token"] in text or alice["password"] in text]
    assert client.asked == documented()


async def test_nobody_gets_in_without_the_key_or_under_another_name(client):
    """A web page can neither guess the key nor make a name of its own lead here."""
    port = client.served.url.rpartition(":")[2]

    assert "GREENROOM_KEY" in (await client.ask("GET", "/people", 401, Authorization=""))["detail"]
    await client.ask("GET", "/people", 401, Authorization="Bearer wrong")
    await client.ask("GET", "/no-such-path", 401, Authorization="Bearer wrong")
    foreign = await client.ask("GET", "/people", 403, Host=f"evil.example:{port}")
    assert foreign["detail"] == f"the header Host must be 127.0.0.1:{port}, not evil.example:{port}"
    await client.ask("GET", "/people", 403, Host="127.0.0.1")
    await client.ask("GET", "/people", 200, Host=f"localhost:{port}")
    assert (await client.ask("GET", "/no-such-path", 404))["detail"] == "GET /no-such-path: Not Found"
    await client.ask("PUT", "/people", 405)
