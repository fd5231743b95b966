"""Answers of the homeserver with any part replaced: the tool says what is wrong in one line, or goes on without it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from aiohttp import web

from greenroom_bot.matrix.errors import BotError, CredentialsError, MatrixError
from greenroom_reset.__main__ import parser, run
from greenroom_reset.errors import Refused
from greenroom_reset.summary import document
from tests.fake_homeserver import FakeHomeserver, Request
from tests.reset.conftest import ALICE, BOT, SERVER, add_room, event, joined, room_of, schema

ODD: list[Any] = [
    *(None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**400),
    *("", "x", "two\nlines", "\ud800", "\u2603", [], [[]], [None], {}, {"": {}}),
]
ABSENT = object()


def odd(answer: Any, choose: random.Random) -> Any:
    """Return a copy of an answer with one of its parts, or all of it, replaced or taken out."""
    answer = copy.deepcopy(answer)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(whole := [answer])
    place, key = choose.choice(places)
    value = choose.choice([*ODD, ABSENT])
    if value is not ABSENT:
        place[key] = value
    elif place is not whole:
        del place[key]
    return whole[0]


class OddHomeserver(FakeHomeserver):
    """A homeserver that now and then answers a request whose path holds `about` with something odd."""

    choose = random.Random(0)
    about = "no such path"

    async def _route(self, request: web.Request, asked: Request) -> web.Response:
        answer = await super()._route(request, asked)
        if self.about not in asked.path or self.choose.random() < 0.3:
            return answer
        body = odd(json.loads(answer.text or ""), self.choose)
        return web.Response(status=answer.status, text=json.dumps(body), content_type="application/json")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OddHomeserver]:
    async with OddHomeserver().running() as running:
        yield running


def scene(server: FakeHomeserver) -> None:
    server.devices["saved"] = "D"
    power = event("m.room.power_levels", {"users": {BOT: 100, ALICE: 50}, "events": {"m.room.power_levels": 100}})
    add_room(server, "!joined:hs", "join", joined(ALICE), power, event("m.room.name", {"name": "Chat"}))
    space = event("m.room.create", {"type": "m.space", "room_version": "12", "additional_creators": [ALICE]})
    add_room(server, "!space:hs", "join", space, event("m.space.child", {"via": ["hs"]}, "!joined:hs"))
    for membership in ("invite", "knock", "leave", "ban"):
        add_room(server, f"!{membership}:hs", membership, joined(ALICE))


ABOUT = ["whoami", "login", "logout", "devices", "joined_rooms", "/sync", "capabilities", "/leave", "/forget", ""]


@pytest.mark.parametrize("about", ABOUT, ids=lambda about: about.strip("/") or "all")
async def test_no_odd_answer_is_a_traceback(online, server, bot_state, capsys, about):
    """Whatever part of an answer is odd, a run ends with a known exit code, and with one line or its summary."""
    validator = jsonschema.Draft202012Validator(schema())
    for seed in range(40):
        server.choose, server.about = random.Random(f"{about} {seed}"), about
        server.rooms.clear()
        scene(server)
        arguments = ["--mode", SERVER, "--json", server.choose.choice(["--yes", "--dry-run"])]
        if server.choose.random() < 0.5:
            server.devices.clear()  # so that it logs in by password

        try:
            code = await run(parser().parse_args(arguments), online)
        except (Refused, BotError, OSError) as error:
            code = getattr(error, "exit_code", 1)
            assert capsys.readouterr().out == "", seed
        else:
            told = json.loads(capsys.readouterr().out)
            validator.validate(told)
            done = {room["room_id"] for room in told["server"]["rooms"] if room["state"] == "done"}
            assert not done & server.rooms.keys(), seed
        assert code in (0, 1, 2, 4), seed


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("joined_rooms", {"joined_rooms": [5]}),
        ("joined_rooms", {"joined_rooms": None}),
        ("sync", {"next_batch": None}),
        ("sync", {"next_batch": "s", "rooms": None}),
        ("sync", {"next_batch": "s", "rooms": []}),
        ("sync", {"next_batch": "s", "rooms": {"join": None}}),
        ("sync", {"next_batch": "s", "rooms": {"leave": [1]}}),
        ("sync", "[" * 100_000),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_an_answer_that_may_lack_rooms_is_an_error(online, server, shown, path, answer):
    """If the shape of a listing is wrong where rooms could be missing from it, nothing is done."""
    scene(server)
    server.fail(f"GET /{path}", 200, answer)

    with pytest.raises(MatrixError, match=r"sync: HTTP 200 .*is no "):
        await shown.reset(online, SERVER, yes=True)

    assert server.paths(writes_only=True) == []


async def test_a_closing_listing_of_an_odd_shape_keeps_the_summary(online, server, shown):
    """A verification that cannot be read leaves the rooms unverified; the summary of the work is not lost."""
    scene(server)
    odd_sync = {"next_batch": "s", "rooms": None}
    server.when("POST /rooms/!joined:hs/leave", lambda: server.fail("GET /sync", 200, odd_sync))

    summary = await shown.reset(online, SERVER, yes=True)

    assert {room.state for room in summary.server.rooms} == {"unverified"}
    assert "rooms is no object" in summary.server.unverified_because
    assert summary.exit_code == 1
    jsonschema.validate(json.loads(json.dumps(document(summary))), schema())


@pytest.mark.parametrize("entry", [None, 5, [], {"state": None}, {"state": {"events": 5}}, {"state": {"events": [5]}}])
async def test_a_room_whose_description_is_odd_is_left_all_the_same(online, server, shown, entry):
    """Names and members are decoration: the id and the section are enough to leave a room."""
    add_room(server, "!a:hs")
    server.fail("GET /sync", 200, {"next_batch": "s", "rooms": {"join": {"!a:hs": entry}}})

    summary = await shown.reset(online, SERVER, yes=True)

    assert (room_of(summary, "!a:hs").state, summary.exit_code) == ("done", 0)


@pytest.mark.parametrize(
    "answer",
    [(404, {"errcode": "M_UNRECOGNIZED"}), (200, {}), (200, {"capabilities": None}), (200, {"capabilities": 5})],
)
async def test_a_server_without_capabilities_is_asked_to_forget(online, server, shown, answer):
    """A server that does not say whether it forgets on leave does not do so."""
    add_room(server, "!a:hs")
    server.fail("GET /capabilities", *answer)

    assert (await shown.reset(online, SERVER, yes=True)).exit_code == 0
    assert "POST /rooms/!a:hs/forget" in server.paths()


@pytest.mark.parametrize("token", ["abc\n", "abc\r\nX: y", "abc\u2603", "\x00"])
async def test_a_token_that_fits_in_no_header_is_named(online, server, shown, token):
    """A token with a line break or a character outside ASCII is named, not sent; the password is tried next."""
    settings = {**online, "MATRIX_ACCESS_TOKEN": token}

    assert (await shown.reset(settings, SERVER, yes=True)).exit_code == 0
    assert "the token holds a character that no HTTP header can hold" in shown.text.getvalue()
    with pytest.raises(CredentialsError) as refused:
        await shown.reset({**settings, "MATRIX_PASSWORD": ""}, SERVER, yes=True)
    assert refused.value.exit_code == 4


async def test_what_a_server_says_cannot_take_over_the_terminal(online, server, shown):
    """Line breaks and control characters in the text of an error are replaced before they are printed."""
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/leave", 403, {"errcode": "M_FORBIDDEN", "error": "no\x1b[2J\nreally"})

    await shown.reset(online, SERVER, yes=True)

    assert "no\ufffd[2J\ufffdreally" in shown.text.getvalue()
    assert "\x1b" not in shown.text.getvalue()
