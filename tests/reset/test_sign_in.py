"""Signing in as the bot without leaving a trace: which credentials are used, and which device is signed out."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from greenroom_bot.matrix.errors import ConfigError, CredentialsError, MatrixError
from greenroom_reset.summary import summary_lines
from tests.reset.conftest import ALICE, LIMITED, SERVER, add_room


async def test_without_a_session_a_device_is_made_and_signed_out_again(online, server, shown):
    """Without a saved session the tool logs in as the device GREENROOM_RESET and logs it out at the end."""
    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.devices == {}
    assert "device GREENROOM_RESET" in shown.text.getvalue()


async def test_the_saved_session_is_used_and_kept(online, server, bot_state, shown):
    """With a saved session the tool neither logs in nor logs out."""
    server.devices["saved"] = "D"

    await shown.reset(online, SERVER, yes=True)

    assert server.count("POST /log") == 0
    assert server.devices == {"saved": "D"}


async def test_a_dead_session_falls_back_to_the_token_and_then_to_the_password(online, server, bot_state, shown):
    """The tool tries the saved session, then the access token, then the password."""
    server.devices["given"] = "D"
    await shown.reset({**online, "MATRIX_ACCESS_TOKEN": "given"}, SERVER, yes=True)
    assert server.count("POST /login") == 0

    await shown.reset({**online, "MATRIX_ACCESS_TOKEN": "dead"}, SERVER, yes=True)
    assert server.count("POST /login") == 1


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"user_id": 1}', '{"user_id": "", "device_id": "", "access_token": 1}']
)
async def test_a_damaged_session_file_counts_as_none(online, server, bot_state, shown, damaged):
    """With an unreadable session file the tool logs in by password."""
    (bot_state / "store" / "session.json").write_text(damaged)

    assert (await shown.reset(online, SERVER, yes=True)).exit_code == 0


async def test_a_wrong_password_is_exit_code_4(online, server, shown):
    """A refused password is a one-line error that names the account, with exit code 4."""
    with pytest.raises(CredentialsError, match=r"refuses the password of @bot:hs1") as refused:
        await shown.reset({**online, "MATRIX_PASSWORD": "wrong"}, SERVER, yes=True)

    assert refused.value.exit_code == 4


async def test_a_dead_token_without_a_password_is_exit_code_4(online, server, shown):
    """If the homeserver accepts no token and no password is set, the exit code is 4."""
    settings = {**online, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": "dead"}

    with pytest.raises(CredentialsError, match="MATRIX_PASSWORD is not set"):
        await shown.reset(settings, SERVER, yes=True)


async def test_a_session_of_another_account_is_refused(online, server, bot_state, shown):
    """A saved session whose token belongs to another account is refused."""
    server.devices["saved"] = "D"
    server.fail("GET /account/whoami", 200, {"user_id": ALICE})

    with pytest.raises(ConfigError, match=r"belongs to @alice:hs1"):
        await shown.reset(online, SERVER, yes=True)


async def test_a_session_of_another_account_is_shown_to_no_homeserver(online, server, bot_state, shown):
    """A saved session that names another account is refused before its token is sent anywhere."""
    session = {"user_id": ALICE, "device_id": "D", "access_token": "saved"}
    (bot_state / "store" / "session.json").write_text(json.dumps(session))

    with pytest.raises(ConfigError, match=r"saved session belongs to @alice:hs1"):
        await shown.reset(online, SERVER, yes=True)

    assert server.requests == []


async def test_missing_settings_are_named_like_the_bot_names_them(online, server, shown):
    """A missing setting is the bot's own ConfigError, with exit code 2."""
    with pytest.raises(ConfigError, match="MATRIX_USER_ID is not set") as error:
        await shown.reset({**online, "MATRIX_USER_ID": ""}, SERVER, yes=True)

    assert error.value.exit_code == 2


@pytest.mark.parametrize("failing", ["rooms", "sync", "joined_rooms"])
async def test_an_own_device_is_signed_out_after_a_failure_too(online, server, shown, failing):
    """The device GREENROOM_RESET is logged out whatever request fails."""
    add_room(server, "!a:hs")
    server.fail(f"[A-Z]+ /{failing}", times=math.inf)

    try:
        assert (await shown.reset(online, SERVER, yes=True)).exit_code == 1
    except MatrixError:
        assert failing != "rooms"

    assert server.devices == {}


async def test_an_own_device_is_signed_out_after_an_interrupt_too(online, server, bot_state, shown):
    """Ctrl-C during a wait for a rate limit still logs the device GREENROOM_RESET out."""
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/leave", 429, LIMITED)

    task = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: "rate limited" in shown.text.getvalue())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.devices == {}


@pytest.fixture
def left_behind(server, bot_state):
    """The bot's saved session, and the device of a run that was killed."""
    server.devices |= {"saved": "D", "old": "GREENROOM_RESET"}
    devices = {"devices": [{"device_id": "D"}, {"device_id": "GREENROOM_RESET"}]}
    server.fail("GET /devices", 200, devices, times=math.inf)


async def test_the_device_of_a_killed_run_is_signed_out_by_the_next(online, server, left_behind, shown):
    """A run that signs in with the saved session takes the leftover device over by password and logs it out."""
    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.devices == {"saved": "D"}
    assert "device GREENROOM_RESET of a killed run is still signed in; this run signs it out" in shown.text.getvalue()


async def test_a_dry_run_only_names_the_device_of_a_killed_run(online, server, left_behind, shown):
    """A dry run says that a real run signs the leftover device out."""
    await shown.reset(online, SERVER, dry_run=True)

    assert server.devices == {"saved": "D", "old": "GREENROOM_RESET"}
    assert "is still signed in; a real run signs it out" in shown.text.getvalue()


async def test_without_a_password_the_device_of_a_killed_run_is_named_with_a_cure(online, server, left_behind, shown):
    """Only the password can sign another device out, so the note says what to do."""
    settings = {**online, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": "saved"}

    assert (await shown.reset(settings, SERVER, yes=True)).exit_code == 0

    assert "sign it out in a Matrix client, or run this with MATRIX_PASSWORD set" in shown.text.getvalue()
    assert server.count("POST /login") == 0


@pytest.mark.parametrize(
    ("status", "body"), [(429, LIMITED), (403, {"errcode": "M_FORBIDDEN", "error": "no"}), (502, "<html>"), (200, {})]
)
async def test_a_leftover_device_that_stays_is_said_and_fails_nothing(online, server, left_behind, shown, status, body):
    """If the leftover device cannot be taken over, a note says so, and the rooms are done all the same."""
    add_room(server, "!a:hs")
    server.fail("POST /login", status, body, times=math.inf)

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert any("of a killed run could not be signed out" in note for note in summary.notes)


async def test_a_device_that_cannot_be_signed_out_is_reported(online, server, shown):
    """A log-out that fails is a note in the summary."""
    server.fail("POST /logout")

    summary = await shown.reset(online, SERVER, yes=True)

    assert "could not be signed out" in "\n".join(summary_lines(summary))


async def test_an_interrupt_does_not_stop_the_signing_out(online, server, shown):
    """Ctrl-C during the log-out does not stop the log-out."""
    interrupted = asyncio.Event()
    server.when("POST /logout", interrupted.wait)  # a request that is given up before has no effect

    task = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await server.until(lambda: server.count("POST /logout"))
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, interrupted.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.devices == {}


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_login_whose_answer_is_lost_leaves_no_device_unsaid(online, server, shown, lost):
    """A login without an answer is repeated with the same device id; if that fails too, the error names the device."""
    server.fail("POST /login", after=True, times=lost)

    if lost == 1:
        assert (await shown.reset(online, SERVER, yes=True)).exit_code == 0
        assert server.devices == {}
    else:
        with pytest.raises(MatrixError, match="GREENROOM_RESET may be signed in") as error:
            await shown.reset(online, SERVER, yes=True)
        assert error.value.exit_code == 1


async def test_a_redirect_is_not_followed(online, server, shown):
    """The tool sends nothing to a host that it did not check, so it follows no redirect."""
    elsewhere = {"Location": f"{server.url}/_matrix/client/v3/elsewhere"}
    server.fail("POST /login", 307, headers=elsewhere, times=math.inf)

    with pytest.raises(MatrixError, match=r"redirects to .* which is not followed"):
        await shown.reset(online, SERVER, yes=True)

    assert server.count("elsewhere") == 0
