"""A server reset and a check behind the manners of another homeserver: what they find, and what they do not claim."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

import pytest

from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from tests.e2e.reset_runs import SERVER, hermit_on, run_reset

DOUBT = "the homeserver does not show that its sync is current"
CACHE = ("picture-from-a-cache",)
CACHE_AND_YES = ("picture-from-a-cache", "leaving-says-yes", "left-rooms-always", "left-rooms-without-state")


@dataclass
class Scene:
    """An account whose device has an old picture behind the proxy, with a room and an invite since.

    `then` is the position of the old picture. `env` has the settings of its bot, with the device's token and the
    password; `by_token` has no password.
    """

    env: dict[str, str]
    api: MatrixApi
    token: str
    user_id: str
    alice: str
    chat: str
    invite: str
    then: str

    @property
    def by_token(self) -> dict[str, str]:
        return {**self.env, "MATRIX_PASSWORD": ""}

    async def call(self, method, *parts, token=None, **body):
        return await self.api.call(method, path(*parts), token=token or self.token, json=body or None)


@pytest.fixture
async def scene(homeserver, faults, tmp_path):
    """See Scene. `faults` has the manners of a cache when the old picture is taken."""
    async with hermit_on(homeserver, tmp_path) as hermit, MatrixApi(faults.url) as through:
        account, api = hermit.account, hermit.api
        alice = await register(homeserver, unique_localpart("alice"), api=api)
        token = account.access_token
        env = {**hermit.env, "MATRIX_HOMESERVER": faults.url, "MATRIX_ACCESS_TOKEN": token}

        async def take_old_picture_and_go_on():
            then = (await through.call("GET", path("sync"), token=token))["next_batch"]
            invite = [account.user_id]
            made = [
                (await api.call("POST", path("createRoom"), token=alice.access_token, json={"invite": invite}))[
                    "room_id"
                ]
                for _ in range(2)
            ]
            await api.call("POST", path("rooms", made[0], "join"), token=token, json={})
            return Scene(env, api, token, account.user_id, alice.user_id, *made, then)

        yield take_old_picture_and_go_on


async def check(env):
    """Run the drift report of `status`. Return (exit code, stdout, stderr)."""
    argv = (sys.executable, "-m", "greenroom_bot", "check")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **env}, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def send_to_device(scene):
    """Send the account's devices a message as somebody else."""
    messages = {"messages": {scene.user_id: {"*": {"hello": "there"}}}}
    where = f"/_matrix/client/v3/sendToDevice/dev.greenroom.test/{unique_localpart('t')}"
    await scene.api.call("PUT", where, token=scene.token, json=messages)


async def news(scene):
    """Return what the homeserver tells the account's device since the old picture: no cache answers that."""
    return await scene.api.call("GET", f"{path('sync')}?since={scene.then}", token=scene.token)


def invites(sync):
    return list(sync.get("rooms", {}).get("invite", {}))


def messages(sync):
    """Return the to-device messages that still wait for the account's device."""
    return sync.get("to_device", {}).get("events", [])


@pytest.mark.parametrize("manners", [CACHE, CACHE_AND_YES, ("conduit",)], ids="+".join)
async def test_a_reset_finds_what_the_old_picture_lacks(faults, scene, manners):
    """The room and the invite since then are left and declined, and no device and no to-device message is lost."""
    with faults.manners(*manners):
        since = await scene()
        await send_to_device(since)
        devices = await since.call("GET", "devices")

        ran = await run_reset(since.env, *SERVER, "--yes")
        again = await run_reset(since.env, *SERVER, "--yes")

    assert (ran.code, again.code) == (0, 0), ran.told + again.told
    assert sorted(ran.rooms(state="done")) == sorted([since.chat, since.invite])
    assert again.rooms() == []
    assert (await since.call("GET", "joined_rooms"))["joined_rooms"] == []
    assert [one["device_id"] for one in devices["devices"]] == [
        one["device_id"] for one in (await since.call("GET", "devices"))["devices"]
    ]
    now = await news(since)
    assert (invites(now), len(messages(now))) == ([], 1)


@pytest.mark.parametrize("manners", [CACHE, CACHE_AND_YES, ("conduit",)], ids="+".join)
async def test_without_a_password_what_cannot_be_known_is_said(faults, scene, manners):
    """The room is left, and known to be. The invite is in no answer: the run ends with 1 and says what is not known."""
    with faults.manners(*manners):
        since = await scene()
        await send_to_device(since)

        ran = await run_reset(since.by_token, *SERVER, "--yes")

    assert ran.code == 1, ran.told
    assert ran.rooms(state="done") == ran.rooms() == [since.chat]
    assert DOUBT in ran.summary["server"]["unverified_because"]
    assert any("whether the account has other invites" in step for step in ran.summary["manual_steps"])
    assert (await since.call("GET", "joined_rooms"))["joined_rooms"] == []
    now = await news(since)
    assert (invites(now), len(messages(now))) == ([since.invite], 1)


@pytest.mark.parametrize("manners", [CACHE, ("conduit",)], ids="+".join)
async def test_a_check_sees_what_the_old_picture_lacks(faults, scene, manners):
    """The drift report names the pending invite; without a password it says that it cannot tell."""
    with faults.manners(*manners):
        since = await scene()
        await send_to_device(since)

        code, out, _ = await check(since.env)
        blind, nothing, why = await check(since.by_token)

    assert (code, f"{since.invite}  invite_pending" in out) == (1, True), out
    assert (blind, nothing) == (3, ""), nothing
    assert DOUBT in why
    assert len(messages(await news(since))) == 1
