"""Signing in as the bot without leaving a trace: which credentials are used, and which device is signed out."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from greenroom_bot.matrix.errors import ConfigError, CredentialsError, MatrixError
from greenroom_reset.summary import summary_lines
from tests.reset.conftest import ALICE, BOT, SERVER, html_502, refusal


async def test_without_a_session_a_device_is_made_and_signed_out_again(online, server, shown):
    """Without a saved session the tool logs in as the device GREENROOM_RESET and logs it out at the end."""
    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.tokens == {}
    assert "device GREENROOM_RESET" in shown.text.getvalue()


async def test_the_saved_session_is_used_and_kept(online, server, bot_state, shown):
    """With a saved session the tool neither logs in nor logs out."""
    server.tokens["saved"] = BOT

    await shown.reset(online, SERVER, yes=True)

    assert not {"login", "logout"} & {path for _, path in server.asked}
    assert server.tokens == {"saved": BOT}


async def test_a_dead_session_falls_back_to_the_token_and_then_to_the_password(online, server, bot_state, shown):
    """The tool tries the saved session, then the access token, then the password."""
    server.tokens["given"] = BOT
    await shown.reset({**online, "MATRIX_ACCESS_TOKEN": "given"}, SERVER, yes=True)
    assert "login" not in {path for _, path in server.asked}

    await shown.reset({**online, "MATRIX_ACCESS_TOKEN": "dead"}, SERVER, yes=True)
    assert "login" in {path for _, path in server.asked}


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"user_id": 1}', '{"user_id": "", "device_id": "", "access_token": 1}']
)
async def test_a_damaged_session_file_counts_as_none(online, server, bot_state, shown, damaged):
    """With an unreadable session file the tool logs in by password."""
    (bot_state / "store" / "session.json").write_text(damaged)

    assert (await shown.reset(online, SERVER, yes=True)).exit_code == 0


async def test_a_wrong_password_is_exit_code_4(online, server, shown):
    """A refused password is a one-line error that names the account, with exit code 4."""
    with pytest.raises(CredentialsError, match=r"refuses the password of @bot:hs\.test") as refused:
        await shown.reset({**online, "MATRIX_PASSWORD": "wrong"}, SERVER, yes=True)

    assert refused.value.exit_code == 4


async def test_a_dead_token_without_a_password_is_exit_code_4(online, server, shown):
    """If the homeserver accepts no token and no password is set, the exit code is 4."""
    settings = {**online, "MATRIX_PASSWORD": "", "MATRIX_ACCESS_TOKEN": "dead"}

    with pytest.raises(CredentialsError, match="MATRIX_PASSWORD is not set"):
        await shown.reset(settings, SERVER, yes=True)


async def test_a_session_of_another_account_is_refused(online, server, bot_state, shown):
    """A saved session whose token belongs to another account is refused."""
    server.tokens["saved"] = ALICE

    with pytest.raises(ConfigError, match=r"belongs to @alice:hs\.test"):
        await shown.reset(online, SERVER, yes=True)


async def test_a_session_of_another_account_is_shown_to_no_homeserver(online, server, bot_state, shown):
    """A saved session that names another account is refused before its token is sent anywhere."""
    session = {"user_id": ALICE, "device_id": "D", "access_token": "saved"}
    (bot_state / "store" / "session.json").write_text(json.dumps(session))

    with pytest.raises(ConfigError, match=r"saved session belongs to @alice:hs\.test"):
        await shown.reset(online, SERVER, yes=True)

    assert server.asked == []


async def test_missing_settings_are_named_like_the_bot_names_them(online, server, shown):
    """A missing setting is the bot's own ConfigError, with exit code 2."""
    with pytest.raises(ConfigError, match="MATRIX_USER_ID is not set") as error:
        await shown.reset({**online, "MATRIX_USER_ID": ""}, SERVER, yes=True)

    assert error.value.exit_code == 2


@pytest.mark.parametrize("failing", ["rooms", "sync", "joined_rooms"])
async def test_an_own_device_is_signed_out_after_a_failure_too(online, server, shown, failing):
    """The device GREENROOM_RESET is logged out whatever request fails."""
    server.room("!a:hs")
    answer = server._answer

    async def broken(request: web.Request, parts: list[str]) -> web.StreamResponse:
        return html_502(request) if parts[0] == failing else await answer(request, parts)

    server._answer = broken  # type: ignore[method-assign]
    try:
        assert (await shown.reset(online, SERVER, yes=True)).exit_code == 1
    except MatrixError:
        assert failing != "rooms"

    assert server.tokens == {}


async def test_an_own_device_is_signed_out_after_an_interrupt_too(online, server, bot_state, shown):
    """Ctrl-C during a wait for a rate limit still logs the device GREENROOM_RESET out."""
    reached = asyncio.Event()
    server.room("!a:hs")
    server.faults["!a:hs", "leave"] = lambda _: reached.set() or refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=99999)

    task = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.tokens == {}


async def test_a_device_that_cannot_be_signed_out_is_reported(online, server, shown):
    """A log-out that fails is a note in the summary."""
    answer = server._answer

    async def broken(request: web.Request, parts: list[str]) -> web.StreamResponse:
        return html_502(request) if parts == ["logout"] else await answer(request, parts)

    server._answer = broken  # type: ignore[method-assign]
    summary = await shown.reset(online, SERVER, yes=True)

    assert "could not be signed out" in "\n".join(summary_lines(summary))


async def test_an_interrupt_does_not_stop_the_signing_out(online, server, shown):
    """Ctrl-C during the log-out does not stop the log-out."""
    reached = asyncio.Event()
    answer = server._answer

    async def slow(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["logout"]:
            reached.set()
            await asyncio.sleep(0.05)
        return await answer(request, parts)

    server._answer = slow  # type: ignore[method-assign]
    task = asyncio.create_task(shown.reset(online, SERVER, yes=True))
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert server.tokens == {}


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_login_whose_answer_is_lost_leaves_no_device_unsaid(online, server, shown, lost):
    """A login without an answer is repeated with the same device id; if that fails too, the error names the device."""
    answer, answers = server._answer, []

    async def lossy(request: web.Request, parts: list[str]) -> web.StreamResponse:
        given = await answer(request, parts)
        if parts == ["login"]:
            answers.append(given)
            return html_502(request) if len(answers) <= lost else given
        return given

    server._answer = lossy  # type: ignore[method-assign]
    if lost == 1:
        assert (await shown.reset(online, SERVER, yes=True)).exit_code == 0
        assert server.tokens == {}
    else:
        with pytest.raises(MatrixError, match="GREENROOM_RESET may be signed in") as error:
            await shown.reset(online, SERVER, yes=True)
        assert error.value.exit_code == 1


async def test_a_redirect_is_not_followed(online, server, shown):
    """The tool sends nothing to a host that it did not check, so it follows no redirect."""
    answer, arrived = server._answer, []

    async def redirecting(request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["elsewhere"]:
            arrived.append(await request.text())
        if parts == ["login"]:
            raise web.HTTPTemporaryRedirect(f"{server.url}/_matrix/client/v3/elsewhere")
        return await answer(request, parts)

    server._answer = redirecting  # type: ignore[method-assign]
    with pytest.raises(MatrixError, match=r"redirects to .* which is not followed"):
        await shown.reset(online, SERVER, yes=True)

    assert arrived == []
