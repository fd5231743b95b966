"""Server reset against a counting homeserver: what is asked, what is claimed, what is kept for the next run."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from greenroom_bot.matrix.client import Client, WriteRefused
from greenroom_bot.matrix.errors import ConfigError, MatrixError
from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_reset.act import CONCURRENCY
from greenroom_reset.errors import Refused, ResetError, SignInRefused
from greenroom_reset.journal import Journal
from greenroom_reset.pace import Pace
from greenroom_reset.plan import RoomStep, ServerPlan
from tests.reset.conftest import ALICE, BOT, FakeHomeserver, Shown, event, refusal, tree

SERVER = "server-leave-forget"


@pytest.fixture
def environ(environ, server) -> dict[str, str]:
    return {**environ, "MATRIX_HOMESERVER": server.url}


def _state_of(summary, room_id: str):
    return next(room for room in summary.server.rooms if room.step.room_id == room_id)


def _joined(user: str) -> dict[str, object]:
    return event("m.room.member", {"membership": "join"}, user)


def _one_of_each(server: FakeHomeserver) -> None:
    server.room("!joined:hs", "join", event("m.room.member", {"membership": "join"}, ALICE))
    server.room("!invited:hs", "invite", event("m.room.name", {"name": "Come in"}))
    server.room("!knocked:hs", "knock")
    server.room("!left:hs", "leave")


async def test_joined_invited_knocked_and_left_rooms_all_go(environ, server, shown):
    """Rooms are left, invites declined, knocks withdrawn, all of them and earlier ones forgotten, and confirmed."""
    _one_of_each(server)

    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.rooms == {}
    assert summary.server.count("done") == 4
    assert sorted(server.writes()) == sorted(
        [("POST", f"rooms/!{room}:hs/leave") for room in ("joined", "invited", "knocked")]
        + [("POST", f"rooms/!{room}:hs/forget") for room in ("joined", "invited", "knocked", "left")]
    )


async def test_a_dry_run_sends_no_write_and_prints_the_plan_of_the_real_run(environ, server):
    """Counted at the server; afterwards every room is as it was, and both runs print the same plan."""
    _one_of_each(server)
    before, dry, real = server.memberships(), Shown(), Shown()

    summary = await dry.reset(environ, SERVER, dry_run=True)
    writes_of_dry_run, after = server.writes(), server.memberships()
    await real.reset(environ, SERVER, yes=True)

    assert writes_of_dry_run == []
    assert after == before
    assert summary.exit_code == 0
    assert summary.server.count("planned") == 4
    assert dry.text.getvalue() == real.text.getvalue()
    assert len(server.writes()) == 7


async def test_local_files_stay_untouched(environ, server, bot_state, shown):
    """Not a byte of the bot's state changes, and no journal is left."""
    _one_of_each(server)
    before = tree(bot_state)

    await shown.reset(environ, SERVER, yes=True)

    assert tree(bot_state) == before


async def test_chats_go_before_the_space_they_are_in(environ, server, shown):
    """Layer by layer: the chats, then the Space, then the Space of Spaces."""
    child = lambda room_id: event("m.space.child", {"via": ["hs"]}, room_id)  # noqa: E731
    space = event("m.room.create", {"type": "m.space"})
    server.room("!a-top:hs", "join", space, child("!b-space:hs"))
    server.room("!b-space:hs", "join", space, child("!c-chat:hs"), child("!d-chat:hs"))
    for chat in ("!c-chat:hs", "!d-chat:hs"):
        server.room(chat)

    await shown.reset(environ, SERVER, yes=True)

    assert [path.split("/")[1] for _, path in server.writes()][-4:] == ["!b-space:hs"] * 2 + ["!a-top:hs"] * 2


async def test_never_more_than_a_few_requests_at_once(environ, server, shown):
    """Concurrency is bounded, and used."""
    for number in range(100):
        server.room(f"!{number}:hs")

    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.server.count("done") == 100
    assert 1 < server.most_at_once <= CONCURRENCY


async def test_a_server_that_forgets_on_leave_is_not_asked_again(environ, server, shown):
    """`m.forget_forced_upon_leave`: only rooms left before still need forgetting."""
    server.forced_forget = True
    server.room("!joined:hs")
    server.room("!left:hs", "leave")

    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert sorted(server.writes()) == [("POST", "rooms/!joined:hs/leave"), ("POST", "rooms/!left:hs/forget")]


async def test_until_somebody_has_said_yes_the_client_cannot_write(environ, server, shown, monkeypatch):
    """A lock at the HTTP layer: a bug in the survey cannot become a write."""

    async def buggy(client: Client, pace: Pace) -> bool:
        await client.request("POST", "rooms", "!a:hs", "leave")
        return False

    monkeypatch.setattr("greenroom_reset.rooms.forgets_on_leave", buggy)
    with pytest.raises(WriteRefused):
        await shown.reset(environ, SERVER, yes=True)

    assert server.writes() == []


async def test_every_listing_asks_with_a_filter_of_its_own(environ, server, shown):
    """Servers answer an identical sync from a cache for minutes: then nothing would be verified."""
    server.room("!joined:hs")

    await shown.reset(environ, SERVER, yes=True)
    await shown.reset(environ, SERVER, dry_run=True)

    assert len(server.sync_queries) == len(set(server.sync_queries)) == 3


# Failures


def html_502(_: web.Request) -> web.Response:
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


def html_200(_: web.Request) -> web.Response:
    return web.Response(text="<html>please log in</html>", content_type="text/html")


def forbidden(_: web.Request) -> web.Response:
    return refusal(403, "M_FORBIDDEN")


def dropped(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    ("fault", "status", "errcode"),
    [(html_502, 502, None), (html_200, 200, None), (forbidden, 403, "M_FORBIDDEN"), (dropped, None, None)],
)
async def test_a_room_that_could_not_be_left_is_never_reported_as_left(environ, server, shown, fault, status, errcode):
    """Whatever comes instead of an acknowledgement, the rest goes on, the exit code is 1, the next run completes."""
    for room in ("!a:hs", "!bad:hs", "!z:hs"):
        server.room(room)
    server.faults["!bad:hs", "leave"] = fault

    first = await shown.reset(environ, SERVER, yes=True)
    server.faults.clear()
    second = await Shown().reset(environ, SERVER, yes=True)

    bad = _state_of(first, "!bad:hs")
    assert (bad.state, bad.still) == ("failed", "join")
    assert bad.json()["error"]["http_status"] == status
    assert bad.json()["error"]["errcode"] == errcode
    assert not any("!bad:hs" in line and "done" in line for line in first.lines())
    assert first.exit_code == 1
    assert first.server.count("done") == 2
    assert second.exit_code == 0
    assert [room.step.room_id for room in second.server.rooms] == ["!bad:hs"]
    assert server.rooms == {}


async def test_a_room_left_but_not_forgotten_is_not_done(environ, server, shown):
    """The listing shows it; the next run forgets it without leaving again."""
    server.room("!bad:hs")
    server.faults["!bad:hs", "forget"] = html_502

    first = await shown.reset(environ, SERVER, yes=True)
    server.faults.clear()
    server.asked.clear()
    second = await shown.reset(environ, SERVER, yes=True)

    assert (_state_of(first, "!bad:hs").state, _state_of(first, "!bad:hs").still) == ("failed", "leave")
    assert first.exit_code == 1
    assert second.exit_code == 0
    assert server.writes() == [("POST", "rooms/!bad:hs/forget")]


async def test_where_the_server_does_not_list_left_rooms_an_unacknowledged_forget_is_not_done(environ, server, shown):
    """Not being listed proves nothing there."""
    server.lists_left_rooms = False
    server.room("!bad:hs")
    server.faults["!bad:hs", "forget"] = html_502

    summary = await shown.reset(environ, SERVER, yes=True)

    assert (_state_of(summary, "!bad:hs").state, _state_of(summary, "!bad:hs").still) == ("failed", None)


async def test_an_acknowledged_leave_that_the_server_does_not_show_is_not_done(environ, server, shown):
    """A 200 proves little; the listing at the end decides."""
    server.room("!liar:hs")
    for action in ("leave", "forget"):
        server.faults["!liar:hs", action] = lambda _: web.json_response({})

    summary = await shown.reset(environ, SERVER, yes=True)

    assert (_state_of(summary, "!liar:hs").state, _state_of(summary, "!liar:hs").still) == ("failed", "join")
    assert summary.exit_code == 1


async def test_without_a_closing_listing_nothing_is_claimed(environ, server, bot_state, shown):
    """Everything is unverified, the exit code 1, and the journal stays for the next run, which accounts for it."""
    server.room("!a:hs")
    fail = False

    def listing_fails_after_the_leave(_: web.Request) -> None:
        nonlocal fail
        fail = True

    server.faults["!a:hs", "leave"] = listing_fails_after_the_leave  # type: ignore[assignment]
    sync = server._sync
    server._sync = lambda request: html_502(request) if fail else sync(request)  # type: ignore[method-assign]

    first = await shown.reset(environ, SERVER, yes=True)
    fail = False
    second = await shown.reset(environ, SERVER, yes=True)

    assert _state_of(first, "!a:hs").state == "unverified"
    assert "502" in first.server.unlisted
    assert first.exit_code == 1
    assert (_state_of(second, "!a:hs").state, _state_of(second, "!a:hs").earlier) == ("done", True)
    assert second.exit_code == 0
    assert not (bot_state / "bot.db.reset-journal").exists()


async def test_an_answer_that_is_no_listing_confirms_nothing(environ, server, shown):
    """A proxy that answers everything with an empty object has seen no room leave."""
    server.room("!a:hs")
    answer = server._answer

    async def empty(request: web.Request, parts: list[str]) -> web.StreamResponse:
        return web.json_response({}) if server.writes() else await answer(request, parts)

    server._answer = empty  # type: ignore[method-assign]
    summary = await shown.reset(environ, SERVER, yes=True)

    assert _state_of(summary, "!a:hs").state == "unverified"
    assert "no list of rooms" in summary.server.unlisted
    assert summary.exit_code == 1


async def test_a_room_whose_id_fits_in_no_url_does_not_stop_the_rest(environ, server, shown):
    """Half a surrogate pair: JSON can say it, a URL cannot."""
    server.room("!\ud800:hs")
    server.room("!good:hs")

    summary = await shown.reset(environ, SERVER, yes=True)

    assert _state_of(summary, "!good:hs").state == "done"
    assert (_state_of(summary, "!\ud800:hs").state, summary.exit_code) == ("failed", 1)


async def test_only_rooms_that_the_bot_has_left_are_said_to_be_administered_by_nobody(environ, server, shown):
    """In a dry run it would be so, where nothing could be confirmed it may be."""
    for room_id in ("!kept:hs", "!left:hs"):
        server.room(room_id, "join", event("m.room.power_levels", {"users": {BOT: 100}}), _joined(ALICE))
    server.faults["!kept:hs", "leave"] = forbidden

    dry = await shown.reset(environ, SERVER, dry_run=True)
    real = await shown.reset(environ, SERVER, yes=True)

    assert "people stay in 2 that would be administered by nobody" in "\n".join(dry.lines())
    assert "people stay in 1 that are administered by nobody" in "\n".join(real.lines())
    assert [_state_of(real, room).json()["administered_by_nobody"] for room in ("!kept:hs", "!left:hs")] == [
        False,
        True,
    ]


async def test_rooms_that_arrive_meanwhile_are_reported(environ, server, shown):
    """Somebody invited the bot during the run: everything planned is done, but the account is not clean."""
    server.room("!a:hs")
    server.faults["!a:hs", "leave"] = lambda _: server.room("!new:hs", "invite")  # type: ignore[func-returns-value]

    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.server.arrived == {"!new:hs": "invite"}
    assert summary.server.count("done") == 1
    assert summary.exit_code == 1


async def test_a_server_that_goes_away_is_one_line(environ, shown):
    """Not a traceback, and exit code 1."""
    with pytest.raises(MatrixError, match="no answer") as error:
        await shown.reset({**environ, "MATRIX_HOMESERVER": "http://127.0.0.1:1"}, SERVER, yes=True)

    assert error.value.status is None
    assert "\n" not in str(error.value)


# Rate limits


async def test_rate_limits_are_waited_out_one_at_a_time(environ, server, shown):
    """The wait and the time left are shown beforehand; everything is done in the end."""
    refusals = {f"!{number}:hs": 2 if number == 0 else 1 for number in range(6)}

    def limited(request: web.Request) -> web.Response | None:
        room_id = request.match_info["path"].split("/")[1]
        refusals[room_id] -= 1
        return refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=5) if refusals[room_id] >= 0 else None

    for room_id in refusals:
        server.room(room_id)
        server.faults[room_id, "leave"] = limited

    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert "rate limited: waiting 0.1 s, about " in shown.text.getvalue()


@pytest.mark.parametrize("limited", ["whoami", "capabilities", "joined_rooms", "sync"])
async def test_a_rate_limit_on_looking_is_waited_out_too(environ, server, bot_state, shown, limited):
    """Each time, before and after: the run neither ends nor goes unverified for it."""
    server.tokens["saved"] = BOT
    server.room("!a:hs")
    answer, again = server._answer, False

    async def every_other(request: web.Request, parts: list[str]) -> web.StreamResponse:
        nonlocal again
        if parts[-1] == limited and not again:
            again = True
            return refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=1)
        again = again and parts[-1] != limited
        return await answer(request, parts)

    server._answer = every_other  # type: ignore[method-assign]
    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert "rate limited" in shown.text.getvalue()


# Signing in


async def test_without_a_session_a_device_is_made_and_signed_out_again(environ, server, shown):
    """No device is left behind, and its id is always the same."""
    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.tokens == {}
    assert "device GREENROOM_RESET" in shown.text.getvalue()


async def test_the_saved_session_is_used_and_kept(environ, server, bot_state, shown):
    """No log-in, no log-out: the bot goes on with its own device."""
    server.tokens["saved"] = BOT

    await shown.reset(environ, SERVER, yes=True)

    assert not {"login", "logout"} & {path for _, path in server.asked}
    assert server.tokens == {"saved": BOT}


async def test_a_dead_session_falls_back_to_the_token_and_then_to_the_password(environ, server, bot_state, shown):
    """The first that the homeserver accepts."""
    server.tokens["given"] = BOT
    await shown.reset({**environ, "MATRIX_ACCESS_TOKEN": "given"}, SERVER, yes=True)
    assert "login" not in {path for _, path in server.asked}

    await shown.reset({**environ, "MATRIX_ACCESS_TOKEN": "dead"}, SERVER, yes=True)
    assert "login" in {path for _, path in server.asked}


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"user_id": 1}', '{"user_id": "", "device_id": "", "access_token": 1}']
)
async def test_a_damaged_session_file_counts_as_none(environ, server, bot_state, shown, damaged):
    """The password still works."""
    (bot_state / "store" / "session.json").write_text(damaged)

    assert (await shown.reset(environ, SERVER, yes=True)).exit_code == 0


async def test_a_wrong_password_is_exit_code_4(environ, server, shown):
    """One line that says who was refused by what."""
    with pytest.raises(SignInRefused, match=r"refuses the password of @bot:hs\.test") as refused:
        await shown.reset({**environ, "MATRIX_PASSWORD": "wrong"}, SERVER, yes=True)

    assert refused.value.exit_code == 4


async def test_a_dead_token_without_a_password_is_exit_code_4(environ, server, shown):
    """There is nothing left to try."""
    settings = {**environ, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": "dead"}

    with pytest.raises(SignInRefused, match="MATRIX_PASSWORD is not set"):
        await shown.reset(settings, SERVER, yes=True)


async def test_a_session_of_another_account_is_refused(environ, server, bot_state, shown):
    """Resetting somebody else's rooms would be worse than doing nothing."""
    server.tokens["saved"] = ALICE

    with pytest.raises(Refused, match=r"belongs to @alice:hs\.test"):
        await shown.reset(environ, SERVER, yes=True)


async def test_a_session_of_another_account_is_shown_to_no_homeserver(environ, server, bot_state, shown):
    """It says itself whose it is; its token is not for the homeserver that happens to be configured."""
    session = {"user_id": ALICE, "device_id": "D", "access_token": "saved"}
    (bot_state / "store" / "session.json").write_text(json.dumps(session))

    with pytest.raises(Refused, match=r"saved session belongs to @alice:hs\.test"):
        await shown.reset(environ, SERVER, yes=True)

    assert server.asked == []


async def test_missing_settings_are_named_like_the_bot_names_them(environ, server, shown):
    """Exit code 2 comes with the bot's own error."""
    with pytest.raises(ConfigError, match="MATRIX_USER_ID is not set") as error:
        await shown.reset({**environ, "MATRIX_USER_ID": ""}, SERVER, yes=True)

    assert error.value.exit_code == 2


async def test_a_session_that_ends_midway_stops_the_run_with_exit_code_4(environ, server, bot_state, shown):
    """Nothing more can come of it; what was done stays in the journal."""
    for number in range(40):
        server.room(f"!{number:02}:hs")
    server.faults["!20:hs", "leave"] = lambda _: server.tokens.clear()  # type: ignore[func-returns-value]

    with pytest.raises(SignInRefused, match="ended the session midway"):
        await shown.reset(environ, SERVER, yes=True)

    assert (bot_state / "bot.db.reset-journal").exists()
    assert len({path for _, path in server.writes() if path.endswith("leave")}) < 40


@pytest.mark.parametrize("failing", ["rooms", "sync", "joined_rooms"])
async def test_an_own_device_is_signed_out_after_a_failure_too(environ, server, shown, failing):
    """Whatever happened in between."""
    server.room("!a:hs")
    answer = server._answer

    async def broken(request: web.Request, parts: list[str]) -> web.StreamResponse:
        return html_502(request) if parts[0] == failing else await answer(request, parts)

    server._answer = broken  # type: ignore[method-assign]
    try:
        assert (await shown.reset(environ, SERVER, yes=True)).exit_code == 1
    except MatrixError:
        assert failing != "rooms"

    assert server.tokens == {}


async def test_an_own_device_is_signed_out_after_an_interrupt_too(environ, server, bot_state, shown):
    """Ctrl-C in the middle: the request is given up, the device signed out, the journal kept."""
    reached = asyncio.Event()
    server.room("!a:hs")
    server.faults["!a:hs", "leave"] = lambda _: reached.set() or refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=99999)

    task = asyncio.create_task(shown.reset(environ, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.tokens == {}
    assert (bot_state / "bot.db.reset-journal").exists()


async def test_a_device_that_cannot_be_signed_out_is_reported(environ, server, shown):
    """A warning with the result, not instead of it."""
    answer = server._answer

    async def broken(request: web.Request, parts: list[str]) -> web.StreamResponse:
        return html_502(request) if parts == ["logout"] else await answer(request, parts)

    server._answer = broken  # type: ignore[method-assign]
    summary = await shown.reset(environ, SERVER, yes=True)

    assert "could not be signed out" in "\n".join(summary.lines())


async def test_an_interrupt_does_not_stop_the_signing_out(environ, server, shown):
    """It comes while the device is being signed out; the device is gone all the same, and the run interrupted."""
    reached = asyncio.Event()
    answer = server._answer

    async def slow(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["logout"]:
            reached.set()
            await asyncio.sleep(0.05)
        return await answer(request, parts)

    server._answer = slow  # type: ignore[method-assign]
    task = asyncio.create_task(shown.reset(environ, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.tokens == {}


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_login_whose_answer_is_lost_leaves_no_device_unsaid(environ, server, shown, lost):
    """Asked for once more, with the same id, so that it can be signed out; if that fails too the line says so."""
    answer, answers = server._answer, []

    async def lossy(request: web.Request, parts: list[str]) -> web.StreamResponse:
        given = await answer(request, parts)
        if parts == ["login"]:
            answers.append(given)
            return html_502(request) if len(answers) <= lost else given
        return given

    server._answer = lossy  # type: ignore[method-assign]
    if lost == 1:
        assert (await shown.reset(environ, SERVER, yes=True)).exit_code == 0
        assert server.tokens == {}
    else:
        with pytest.raises(ResetError, match="GREENROOM_RESET may be signed in") as error:
            await shown.reset(environ, SERVER, yes=True)
        assert error.value.exit_code == 1


async def test_a_connection_that_was_closed_during_the_question_costs_no_room(environ, server, shown):
    """The first request after the yes is no write."""
    server.room("!a:hs")
    answer, dropped_once = server._answer, []

    async def closing(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if ("GET", "sync") in server.asked and not dropped_once and parts[0] != "sync":
            dropped_once.append(parts)
            return dropped(request)
        return await answer(request, parts)

    server._answer = closing  # type: ignore[method-assign]
    summary = await shown.reset(environ, SERVER, yes=True)

    assert summary.exit_code == 0
    assert dropped_once


# Which homeserver


async def test_a_redirect_is_not_followed(environ, server, shown):
    """The host was checked, where it sends us was not; a password must not get there."""
    answer, arrived = server._answer, []

    async def redirecting(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["elsewhere"]:
            arrived.append(await request.text())
        if parts == ["login"]:
            raise web.HTTPTemporaryRedirect(f"{server.url}/_matrix/client/v3/elsewhere")
        return await answer(request, parts)

    server._answer = redirecting  # type: ignore[method-assign]
    with pytest.raises(ResetError, match=r"redirects to .* which is not followed"):
        await shown.reset(environ, SERVER, yes=True)

    assert arrived == []


async def test_a_password_in_the_url_is_refused_and_not_repeated(environ, server, shown):
    """One line, without the password."""
    url = server.url.replace("http://", "http://me:hunter2@")

    with pytest.raises(Refused, match="holds a user name or a password") as refused:
        await shown.reset({**environ, "MATRIX_HOMESERVER": url}, SERVER, yes=True)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://matrix.org", "http://10.0.0.1:8008", "http://0.0.0.0:8008", "http://[2001::1]"]
)
async def test_a_homeserver_elsewhere_is_refused_before_any_request(environ, server, shown, url):
    """In a dry run too; the way out is in the message."""
    for options in ({"yes": True}, {"dry_run": True}):
        with pytest.raises(Refused, match="--i-know-this-is"):
            await shown.reset({**environ, "MATRIX_HOMESERVER": url}, SERVER, **options)

    assert server.asked == []


async def test_a_host_named_wrongly_is_refused(environ, server, shown):
    """The name has to be the one in the URL, even on this machine."""
    with pytest.raises(Refused, match=r"names 'example\.org'"):
        await shown.reset(environ, SERVER, yes=True, known_host="example.org")

    assert (await shown.reset(environ, SERVER, yes=True, known_host="127.0.0.1")).exit_code == 0


# Resuming


def _journal(bot_state: Path) -> Path:
    return bot_state / "bot.db.reset-journal"


def _interrupted(path: Path, homeserver: str, step: RoomStep, *, done: bool = False) -> None:
    """Write what a run leaves that was killed after it had planned a room, or had done it."""
    journal = Journal(path, homeserver, UserId(BOT))
    with journal.opened(ServerPlan(homeserver, UserId(BOT), (step,))):
        if done:
            journal.done(step.room_id)


async def test_an_interrupted_run_is_resumed_and_every_room_accounted_for_once(environ, server, bot_state, shown):
    """Rooms that the killed run finished are reported as its work, the half-done ones and the rest as this run's."""
    rooms = [f"!{number:02}:hs" for number in range(40)]
    for room_id in rooms:
        server.room(room_id)
    reached = asyncio.Event()
    server.faults["!25:hs", "forget"] = lambda _: reached.set() or refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=9999)

    first = asyncio.create_task(shown.reset(environ, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    server.faults.clear()
    with _journal(bot_state).open("a") as journal:
        journal.write('{"done": "!39')  # killed while writing
    second = await shown.reset(environ, SERVER, yes=True)

    assert sorted(room.step.room_id for room in second.server.rooms) == rooms
    assert {room.state for room in second.server.rooms} == {"done"}
    assert {room.earlier for room in second.server.rooms} == {True, False}
    assert not _state_of(second, "!25:hs").earlier
    assert server.rooms == {}
    assert not _journal(bot_state).exists()


async def test_a_room_left_by_a_killed_run_is_forgotten_where_left_rooms_are_not_listed(
    environ, server, bot_state, shown
):
    """The journal knows of it though the listing does not."""
    server.lists_left_rooms = False
    server.room("!a:hs")
    reached = asyncio.Event()
    server.faults["!a:hs", "forget"] = lambda _: reached.set() or refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=9999)

    first = asyncio.create_task(shown.reset(environ, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    server.faults.clear()
    second = await shown.reset(environ, SERVER, yes=True)

    assert (_state_of(second, "!a:hs").state, _state_of(second, "!a:hs").earlier) == ("done", False)
    assert server.rooms == {}


@pytest.mark.parametrize("half", ['{"gree', '{"greenroom_reset": 1, "who'])
def test_half_a_line_in_the_journal_harms_no_later_entry(bot_state, half):
    """A run was killed while writing; the next one's plan is read nevertheless."""
    step = RoomStep(RoomId("!a:hs"), "join", others=(UserId(ALICE),))
    plan = ServerPlan("http://127.0.0.1:1", UserId(BOT), (step,))
    _journal(bot_state).write_text(half)

    with Journal(_journal(bot_state), plan.homeserver, plan.user_id).opened(plan):
        pass

    assert Journal(_journal(bot_state), plan.homeserver, plan.user_id).unfinished == {step.room_id: step}


async def test_accounts_that_share_a_journal_leave_each_other_alone(environ, server, bot_state, shown):
    """The other one's progress is neither evidence here nor lost."""
    step = RoomStep(RoomId("!other:hs"), "join")
    _interrupted(_journal(bot_state), "http://127.0.0.1:2", step, done=True)
    _interrupted(_journal(bot_state), server.url, RoomStep(RoomId("!gone:hs"), "join"))
    server.room("!a:hs")

    summary = await shown.reset(environ, SERVER, yes=True)
    other = Journal(_journal(bot_state), "http://127.0.0.1:2", UserId(BOT))
    own = Journal(_journal(bot_state), server.url, UserId(BOT))

    assert sorted(room.step.room_id for room in summary.server.rooms) == ["!a:hs", "!gone:hs"]
    assert other.finished == {step.room_id: step}
    assert (own.finished, own.unfinished) == ({}, {})


def test_a_room_that_was_planned_again_is_not_done(bot_state):
    """The bot was invited again after it had left; that a run finished the room before says nothing of now."""
    step = RoomStep(RoomId("!a:hs"), "join")
    _interrupted(_journal(bot_state), "http://127.0.0.1:1", step, done=True)
    _interrupted(_journal(bot_state), "http://127.0.0.1:1", step)

    journal = Journal(_journal(bot_state), "http://127.0.0.1:1", UserId(BOT))

    assert (journal.finished, journal.unfinished) == ({}, {step.room_id: step})


async def test_a_forget_that_failed_is_remembered_where_left_rooms_are_not_listed(environ, server, bot_state, shown):
    """The next run does it, instead of saying that there is nothing; the journal goes when it is done."""
    server.lists_left_rooms = False
    server.room("!good:hs")
    server.room("!bad:hs")
    server.faults["!bad:hs", "forget"] = html_502

    first = await shown.reset(environ, SERVER, yes=True)
    kept = Journal(_journal(bot_state), server.url, UserId(BOT))
    server.faults.clear()
    second = await shown.reset(environ, SERVER, yes=True)

    assert first.exit_code == 1
    assert (list(kept.unfinished), kept.finished) == (["!bad:hs"], {})
    assert [(room.step.room_id, room.state) for room in second.server.rooms] == [("!bad:hs", "done")]
    assert server.rooms == {}
    assert tree(bot_state).keys().isdisjoint({"bot.db.reset-journal", "bot.db.reset-journal.new"})


async def test_the_journal_stays_until_the_summary_is_out(environ, server, bot_state, shown):
    """Interrupted before anybody has read it, a run can be accounted for by the next one."""
    server.room("!a:hs")
    seen = []
    shown.told = SimpleNamespace(append=lambda summary: seen.append(_journal(bot_state).exists()))  # type: ignore[assignment]

    await shown.reset(environ, SERVER, yes=True)

    assert seen == [True]
    assert not _journal(bot_state).exists()


async def test_notes_of_progress_that_cannot_be_written_stop_nothing(environ, server, bot_state, shown, monkeypatch):
    """A full disk: every room is done, and the summary says what is missing."""
    for number in range(3):
        server.room(f"!{number}:hs")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    server.faults["!0:hs", "leave"] = lambda _: monkeypatch.setattr("greenroom_reset.journal.os.write", full)
    summary = await shown.reset(environ, SERVER, yes=True)
    monkeypatch.undo()

    assert summary.server.count("done") == 3
    assert any("could not be written (No space left on device)" in note for note in summary.notes)


@pytest.mark.parametrize(
    "content",
    [
        "my diary\n",
        '{"a": 1}\n',
        "[]",
        '{"greenroom_reset": 1}\n',
        '{"greenroom_reset": 1, "whose": [], "rooms": [1]}\n',
        '{"greenroom_reset": 1, "whose": [], "rooms": [{"room": 1}]}\n',
    ],
)
async def test_a_file_in_the_journals_place_is_refused(environ, server, bot_state, shown, content):
    """It is somebody's; nothing is overwritten."""
    _journal(bot_state).write_text(content)
    server.room("!a:hs")

    with pytest.raises(Refused, match="move it out of the way"):
        await shown.reset(environ, SERVER, yes=True)

    assert _journal(bot_state).read_text() == content


@pytest.mark.parametrize("second", [{"yes": True}, {"dry_run": True}])
async def test_a_second_reset_is_refused_before_it_signs_in(environ, server, bot_state, shown, second):
    """It would take over the device of the one at work, and read a journal that is being written. A dry run too."""
    refused = []

    async def another() -> None:
        with pytest.raises(Refused, match="another reset is at work"):
            await Shown().reset(environ, SERVER, **second)
        refused.append(sum(path == "login" for _, path in server.asked))

    async def slow(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts[0] == "rooms" and not refused:
            await another()
        return await answer(request, parts)

    answer, server._answer = server._answer, slow  # type: ignore[method-assign]
    server.room("!a:hs")
    summary = await shown.reset(environ, SERVER, yes=True)

    assert refused == [1]
    assert summary.exit_code == 0


async def test_without_the_databases_directory_there_is_no_journal(environ, server, tmp_path, shown):
    """Nothing is made where there was nothing."""
    server.room("!a:hs")
    missing = tmp_path / "missing"

    summary = await shown.reset({**environ, "MATRIX_DB_PATH": str(missing / "bot.db")}, SERVER, yes=True)

    assert summary.exit_code == 0
    assert not missing.exists()


# Both modes


async def test_both_modes_do_the_server_first_and_the_files_last(environ, server, bot_state, shown):
    """With the saved session still there while the server is worked on."""
    server.tokens["saved"] = BOT
    server.room("!a:hs")
    seen: list[bool] = []
    server.faults["!a:hs", "leave"] = lambda _: seen.append((bot_state / "bot.db").exists())  # type: ignore[func-returns-value]

    summary = await shown.reset(environ, "local-only", SERVER, yes=True)

    assert summary.exit_code == 0
    assert seen == [True]
    assert tree(bot_state) == {}
    assert server.rooms == {}


async def test_both_modes_keep_the_files_when_the_server_is_not_done(environ, server, bot_state, shown):
    """They hold the session that the next run needs."""
    server.tokens["saved"] = BOT
    server.room("!a:hs")
    server.faults["!a:hs", "leave"] = forbidden
    before = tree(bot_state)

    summary = await shown.reset(environ, "local-only", SERVER, yes=True)

    assert summary.exit_code == 1
    assert {result.state for result in summary.files} == {"kept"}
    assert tree(bot_state).items() > before.items()
    assert not any("old device" in step for step in summary.manual_steps())


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_journal_in_the_store_does_not_undo_what_the_run_may_tell(
    environ, server, bot_state, shown, interrupted
):
    """The database lives in the store, and so does the journal, of this run or before: all of it goes, and is told."""
    environ["MATRIX_DB_PATH"] = str(bot_state / "store" / "bot.db")
    (bot_state / "bot.db").rename(bot_state / "store" / "bot.db")
    server.tokens["saved"] = BOT
    server.room("!a:hs")
    if interrupted:
        step = RoomStep(RoomId("!b:hs"), "join")
        _interrupted(bot_state / "store" / "bot.db.reset-journal", server.url, step, done=True)

    summary = await shown.reset(environ, "local-only", SERVER, yes=True)

    assert {room.state for room in summary.server.rooms} == {"done"}
    assert {result.state for result in summary.files} == {"deleted"}
    assert summary.exit_code == 0
    assert tree(bot_state) == {}


async def test_files_that_changed_meanwhile_are_kept_and_the_servers_part_is_told(environ, server, bot_state, shown):
    """Exit code 1 and a summary: a refusal would say that nothing was changed."""
    server.tokens["saved"] = BOT
    server.room("!a:hs")
    server.faults["!a:hs", "leave"] = lambda _: (bot_state / "store" / f"{BOT}_D.db-wal").touch()

    summary = await shown.reset(environ, "local-only", SERVER, yes=True)

    assert _state_of(summary, "!a:hs").state == "done"
    assert {result.state for result in summary.files} == {"kept"}
    assert "not what they were" in "\n".join(summary.lines())
    assert summary.exit_code == 1


async def test_a_running_bot_is_mentioned_before_its_rooms_are_left(environ, server, bot_state, shown):
    """Its files are not touched, so it is no refusal; but it may make new rooms meanwhile."""
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        summary = await shown.reset(environ, SERVER, dry_run=True)

    assert summary.exit_code == 0
    assert f"the bot is running (pid {os.getpid()})" in shown.text.getvalue()
    assert any("the bot is running" in note for note in summary.json()["notes"])
