"""Reset against a real Synapse, as a person runs it: another process, the bot's own environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from greenroom import must
from greenroom.checks import message
from greenroom.homeserver import Capability, RunningHomeserver
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from greenroom_reset.act import CONCURRENCY
from tests.e2e.reset_runs import (
    LOCAL,
    SERVER,
    Hermit,
    Ran,
    acknowledged,
    hermit_on,
    local_state,
    run_reset,
    saved_token,
    start_reset,
)
from tests.e2e.scene import IDENTITY, counters, mapping, set_up

INTERRUPTED_ROOMS = 100  # the benchmark does the same with 300
LIMITED_ROOMS = 14  # 20 s under Synapse's default of ten leaves at once, then one in five seconds


async def test_a_server_reset_leaves_exactly_the_bots_rooms_and_a_fresh_invite_provisions_anew(person, bot):
    """A server reset takes the bot out of its rooms only, and the bot answers a fresh invite with new rooms."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    await must.answer(alice, greenroom, scene.chat, "!new Second chat", containing="Made C2")
    await alice.join_invites()
    rooms = await alice.joined_rooms()
    await greenroom.stop()

    dry = await run_reset(greenroom.env, *SERVER, "--dry-run")
    still = {room: greenroom.user_id in await alice.members(room) for room in rooms}
    real = await run_reset(greenroom.env, *SERVER, "--yes")
    again = await run_reset(greenroom.env, *SERVER, "--yes")

    assert dry.code == real.code == again.code == 0, real.told
    assert set(dry.rooms(state="planned")) == rooms == set(real.rooms(state="done"))
    assert set(still.values()) == {True}
    assert real.rooms()[-1] == scene.space
    assert again.rooms() == []
    assert await alice.joined_rooms() == rooms
    assert [await alice.members(room) for room in rooms] == [{alice.user_id}] * len(rooms)
    assert any(alice.user_id in step for step in real.summary["manual_steps"])

    await greenroom.start_again()
    counted = set(counters(greenroom))
    assert "left_offline" in counted
    assert counted <= {"left_offline", "skipped"}
    direct = await alice.create_direct(greenroom.user_id)
    await alice.until(message(sender=greenroom.user_id, room=direct, containing="Hello!"), watch=[greenroom])
    await alice.join_invites()
    fresh = await alice.joined_rooms() - rooms - {direct}
    kinds = {(await alice.state(room, IDENTITY) or {}).get("kind"): room for room in fresh}
    assert (len(fresh), set(kinds)) == (2, {"space", "chat"})
    assert (await must.answer(alice, greenroom, kinds["chat"], "hello again")).body == "hello again"


async def test_a_local_reset_alone_is_rebuilt_from_the_server_and_had_said_so(person, bot):
    """After a local reset, which asks no server, the next start rebuilds the same mapping."""
    alice, greenroom = await person("alice"), await bot()
    scene = await set_up(alice, greenroom)
    before = mapping(greenroom)
    await greenroom.stop()
    unreachable = {**greenroom.env, "MATRIX_HOMESERVER": "http://127.0.0.1:1"}

    dry = await run_reset(unreachable, *LOCAL, "--dry-run")
    real = await run_reset(unreachable, *LOCAL, "--yes")

    assert dry.code == real.code == 0, real.told
    assert "the bot's next start rebuilds from them" in real.told
    assert local_state(greenroom) == []
    await greenroom.start_again()
    assert mapping(greenroom) == before
    assert (await must.answer(alice, greenroom, scene.chat, "still there?")).body == "still there?"


async def test_a_running_bot_keeps_its_files(person, bot):
    """A local reset is refused while the bot runs, and the message names the bot's pid."""
    greenroom = await bot()

    refused = await run_reset(greenroom.env, *LOCAL, "--yes")

    assert refused.code == 2
    assert f"in use by a running bot (pid {greenroom.pid})" in refused.told
    assert greenroom.is_running()
    assert local_state(greenroom) == ["lambda_matrix.db", "matrix_store"]


async def test_both_modes_at_once_use_the_saved_session_and_leave_no_device(person, bot):
    """A reset of both modes uses the bot's saved session, so the account has the same devices afterwards."""
    alice, greenroom = await person("alice"), await bot()
    await set_up(alice, greenroom)
    await greenroom.stop()
    token = saved_token(greenroom)

    async with MatrixApi(greenroom.env["MATRIX_HOMESERVER"]) as api:
        before = await api.call("GET", path("devices"), token=token)
        ran = await run_reset(greenroom.env, "--mode", "local-only", *SERVER, "--yes")
        after = await api.call("GET", path("devices"), token=token)

    assert ran.code == 0, ran.told
    assert [d["device_id"] for d in before["devices"]] == [d["device_id"] for d in after["devices"]]
    assert {file["state"] for file in ran.summary["local"]} == {"deleted"}
    assert local_state(greenroom) == []


async def test_a_run_killed_in_the_middle_is_finished_by_the_next(homeserver, faults, tmp_path):
    """After SIGKILL each room was printed as acknowledged or is finished by the second run, and none is both."""
    async with hermit_on(homeserver, tmp_path) as hermit:
        rooms = await hermit.make_rooms(INTERRUPTED_ROOMS)
        # The run is killed after a third of the rooms, at work. However fast it is, it waits after two thirds.
        faults.hold_response(path="/leave", skip=INTERRUPTED_ROOMS * 2 // 3)

        process = await start_reset({**hermit.env, "MATRIX_HOMESERVER": faults.url}, *SERVER, "--yes")
        printed = await acknowledged(process, at_least=INTERRUPTED_ROOMS // 3)
        process.kill()
        printed |= await acknowledged(process)
        await process.wait()
        left_over = await hermit.joined_rooms()
        second = await run_reset(hermit.env, *SERVER, "--yes")

        assert second.code == 0, second.told
        assert 0 < len(left_over) < INTERRUPTED_ROOMS
        assert not printed & set(second.rooms())
        # The server may have answered a few requests that were under way when the run was killed.
        assert len(rooms - printed - set(second.rooms())) <= CONCURRENCY
        assert set(second.rooms()) >= left_over
        assert second.rooms(state="done") == second.rooms()
        assert await hermit.joined_rooms() == set()
        assert list(tmp_path.iterdir()) == []
        devices = await hermit.api.call("GET", path("devices"), token=hermit.account.access_token)
        assert [device["device_id"] for device in devices["devices"]] == [hermit.account.device_id]


async def test_synapses_default_rate_limits_are_waited_out(fresh_homeserver, tmp_path):
    """Under Synapse's limits every room is left, and the first announcement of the time left is about right."""
    server = await fresh_homeserver(rate_limits=["rc_message", "rc_login", "rc_joins"])
    async with hermit_on(server, tmp_path) as hermit:
        async with no_message_limit(server, hermit):
            rooms = await hermit.make_rooms(LIMITED_ROOMS)

        started = asyncio.get_running_loop().time()
        ran = await run_reset(hermit.env, *SERVER, "--yes")
        took_s = asyncio.get_running_loop().time() - started

        assert ran.code == 0, ran.told
        assert set(ran.rooms(state="done")) == rooms
        waits = [line for line in ran.told.splitlines() if "rate limited" in line]
        announced_s = _seconds(waits[0].partition("about ")[2].removesuffix(" left"))
        assert announced_s == pytest.approx(took_s, rel=0.5)  # the rest is signing in, listing, and a busy machine
        assert len(waits) >= LIMITED_ROOMS - 10 - 1


@asynccontextmanager
async def no_message_limit(server: RunningHomeserver, hermit: Hermit) -> AsyncIterator[None]:
    """Lift the limit for one account while the scene is set: making rooms uses up the same allowance as leaving."""
    server.require(Capability.ADMIN_API, Capability.RATE_LIMITS_PER_USER)
    admin = await register(server, unique_localpart("admin"), admin=True, api=hermit.api)
    override = f"/_synapse/admin/v1/users/{hermit.account.user_id}/override_ratelimit"
    none = {"messages_per_second": 0, "burst_count": 0}
    await hermit.api.call("POST", override, token=admin.access_token, json=none)
    yield
    await hermit.api.call("DELETE", override, token=admin.access_token)


def _seconds(text: str) -> int:
    """Read `1 min 40 s`."""
    words = text.split()
    return sum(int(number) * {"min": 60, "s": 1}[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


# A proxy between reset and the server. The fault is chosen by the path; None lets the request through.
Fault = Callable[[web.Request, Callable[[], Awaitable[web.Response]]], Awaitable[web.StreamResponse]]


async def bad_gateway(request: web.Request, forward: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def forbidden(request: web.Request, forward: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
    return web.json_response({"errcode": "M_FORBIDDEN", "error": "not today"}, status=403)


async def dropped_before(request: web.Request, forward: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def dropped_after(request: web.Request, forward: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
    await forward()
    return await dropped_before(request, forward)


@asynccontextmanager
async def faulty_leaves(url: str, faults: Mapping[str, Fault]) -> AsyncIterator[str]:
    """Run a proxy that spoils the leave of the rooms in `faults`; give its URL."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()

            async def forward() -> web.Response:
                async with session.request(
                    request.method, f"{url}{request.raw_path}", data=body, headers=request.headers
                ) as answer:
                    kept = {k: v for k, v in answer.headers.items() if k.lower() == "content-type"}
                    return web.Response(status=answer.status, body=await answer.read(), headers=kept)

            parts = request.path.split("/")
            fault = faults.get(parts[-2]) if parts[-1] == "leave" else None
            return await fault(request, forward) if fault else await forward()

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def test_a_leave_that_failed_is_never_reported_as_done(homeserver, tmp_path):
    """Rooms whose leave met a 502, a 403 or a cut connection are failed, and a second run completes them."""
    async with hermit_on(homeserver, tmp_path) as hermit:
        rooms = sorted(await hermit.make_rooms(12))
        kinds = [bad_gateway, forbidden, dropped_before, dropped_after]
        faults = dict(zip(rooms, kinds * 2, strict=False))
        unlucky = set(faults)
        seen_left = {room for room, fault in faults.items() if fault is dropped_after}

        async with faulty_leaves(homeserver.url, faults) as proxy:
            first = await run_reset({**hermit.env, "MATRIX_HOMESERVER": proxy}, *SERVER, "--yes")
        joined_after_first = await hermit.joined_rooms()
        second = await run_reset(hermit.env, *SERVER, "--yes")

        assert first.code == 1
        assert set(first.rooms(state="failed")) == unlucky
        assert set(first.rooms(state="done")) == set(rooms) - unlucky
        assert set(first.rooms(still="join")) == joined_after_first == unlucky - seen_left
        assert set(first.rooms(still="leave")) == seen_left
        statuses = _by_fault(first, faults)
        assert statuses == {bad_gateway: {502}, forbidden: {403}, dropped_before: {None}, dropped_after: {None}}
        assert second.code == 0, second.told
        assert set(second.rooms(state="done")) == unlucky
        assert await hermit.joined_rooms() == set()


def _by_fault(ran: Ran, faults: Mapping[str, Fault]) -> dict[Fault, set[int | None]]:
    rooms: Iterable[dict[str, Any]] = ran.summary["server"]["rooms"]
    errors = {room["room_id"]: room["error"] for room in rooms if room["error"]}
    return {
        fault: {errors[room]["http_status"] for room, kind in faults.items() if kind is fault}
        for fault in faults.values()
    }
