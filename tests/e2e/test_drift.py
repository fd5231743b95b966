"""Every drift that a person or an admin can cause from outside, and what the next start makes of it.

One scene for all: a bot, a person with many chats, everything changed while the bot is down, one start, and then one
test per drift on what that start reported. ``as_bot`` is the bot's own account on another device: the only one with
enough power for some of it, as an admin working with the bot's token would be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from greenroom.bot_process import RunningBot
from greenroom.checks import message
from greenroom.homeserver import RunningHomeserver
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi
from greenroom.people.person import Person, person_on
from greenroom.session import BotFactory, PersonFactory, Session
from tests.e2e.scene import IDENTITY, Scene, ask, counters, identity, mapping, outcomes, set_up


@dataclass
class Drifted:
    """The scene after the start: which room had which drift, and what was reported."""

    bot: RunningBot
    alice: Person
    carol: Person
    scene: Scene
    rooms: dict[str, str] = field(default_factory=dict)

    def outcome(self, drift: str) -> tuple[str, str, str]:
        """(outcome, reason, detail) reported for the room with that drift."""
        entry = outcomes(self.bot).get(self.rooms[drift], {"outcome": "unchanged or skipped"})
        return entry["outcome"], entry.get("reason", ""), entry.get("detail", "")


async def _version_11_chat(as_bot: Person, owner: str, space: str, chat_id: str) -> str:
    """A chat of the bot's in an old room version, where power can be lost: the creator is only a listed user there."""
    content = _identity_content(owner, space, chat_id)
    return await as_bot.create_room(
        room_version="11",
        invite=[owner],
        initial_state=[{"type": IDENTITY, "state_key": "", "content": content}],
        power_level_override={"events": {IDENTITY: 100}, "users": {as_bot.user_id: 100}},
    )


def _identity_content(owner: str, space: str, chat_id: str, **changed: Any) -> dict[str, Any]:
    fixed = {"v": 1, "kind": "chat", "instance": "default", "title": "", "archived": False}
    return {**fixed, "chat_id": chat_id, "owner": owner, "space_id": space, "request": f"test:{chat_id}", **changed}


async def _many_chats(alice: Person, bot: RunningBot, scene: Scene, count: int) -> list[str]:
    for number in range(2, count + 2):
        await ask(alice, bot, scene.direct, f"!new Chat {number}", says=f"Made C{number} ")
    await alice.join_invites()
    return [await alice.until(identity("chat", owner=alice.user_id, chat_id=f"C{n}")) for n in range(2, count + 2)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def drifted(greenroom: Session, homeserver: RunningHomeserver) -> AsyncIterator[Drifted]:
    """Set the scene, change everything while the bot is down, start it."""
    async with AsyncExitStack() as stack:
        account = await register(homeserver, unique_localpart("bot", "drift"))
        bot = await BotFactory(greenroom, stack, "drift", homeserver)(account=account)
        make_person = PersonFactory(greenroom, stack, "drift", homeserver)
        alice, carol, dave = [await make_person(name) for name in ("alice", "carol", "dave")]
        admin = await make_person("admin", admin=True)
        as_bot = await stack.enter_async_context(person_on(homeserver, account))
        result = Drifted(bot, alice, carol, await set_up(alice, bot))
        carols, daves = await set_up(carol, bot), await set_up(dave, bot)
        chats = iter(await _many_chats(alice, bot, result.scene, 14))
        space, rooms = result.scene.space, result.rooms
        old = await _version_11_chat(as_bot, alice.user_id, space, "C90")
        await alice.join(old)
        await bot.restart()  # knows the old-version chat now
        await bot.stop()

        def take(drift: str) -> str:
            rooms[drift] = next(chats)
            return rooms[drift]

        await alice.rename(take("renamed"), "Under a new name")
        await as_bot.set_state(space, "m.space.child", {}, take("link removed"))
        await as_bot.set_state(take("archived"), IDENTITY, _identity_content(
            alice.user_id, space, "C4", title="Chat 4", archived=True))  # fmt: skip
        await as_bot.leave(take("left by our account"))
        await alice.leave(take("owner left"))
        await as_bot.ban(take("owner banned"), alice.user_id)
        await as_bot.set_state(take("encrypted"), "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        for drift in ("replaced, joined", "replaced, not joined"):
            async with MatrixApi(homeserver.url) as api:
                path = f"/_matrix/client/v3/rooms/{take(drift)}/upgrade"
                new = await api.call("POST", path, json={"new_version": "12"}, token=account.access_token)
            if drift.endswith("not joined"):
                await as_bot.leave(new["replacement_room"])
            rooms[f"replacement of {drift}"] = new["replacement_room"]
        await as_bot.set_state(take("replaced by nothing"), "m.room.tombstone", {
            "body": "closed", "replacement_room": "!nowhere:greenroom.test"})  # fmt: skip
        await as_bot.set_state(take("malformed"), IDENTITY, {"v": 1, "kind": "sofa"})
        await as_bot.set_state(take("other instance"), IDENTITY, _identity_content(
            alice.user_id, space, "C13", instance="staging"))  # fmt: skip
        await as_bot.set_state(take("mismatch"), IDENTITY, _identity_content(alice.user_id, space, "C99"))
        async with MatrixApi(homeserver.url) as api:  # an admin shuts the room down
            path = f"/_synapse/admin/v1/rooms/{take('shut down')}"
            await api.call("DELETE", path, json={"purge": False}, token=admin.account.access_token)

        rooms["power lost"] = old
        levels = await as_bot.state(old, "m.room.power_levels") or {}
        await as_bot.set_state(old, "m.room.power_levels", {**levels, "users": {as_bot.user_id: 50}})
        for drift, chat_id, kind in (
            ("same chat twice", "C1", "chat"),
            ("two spaces", "space", "space"),
            ("space and chat at once", "C97", "space"),
        ):
            content = _identity_content(alice.user_id, space, chat_id, kind=kind)
            event = {"type": IDENTITY, "state_key": "", "content": content}
            rooms[drift] = await as_bot.create_room(space=drift == "two spaces", initial_state=[event])
        rooms["no identity"] = await as_bot.create_room(name="Made by hand")
        rooms["forged"] = await carol.create_room(invite=[account.user_id], initial_state=[
            {"type": IDENTITY, "state_key": "", "content": _identity_content(alice.user_id, space, "C1")}])  # fmt: skip
        await as_bot.join(rooms["forged"])
        rooms["invited"] = await carol.create_direct(account.user_id)
        await carol.rename(carols.space, "Carol's corner")
        rooms["space renamed"] = carols.space
        await dave.leave(daves.space)
        rooms["owner left the space"] = daves.space
        await bot.start_again()
        yield result


EXPECTED = {
    "renamed": ("renamed", "", ""),
    "space renamed": ("renamed", "", ""),
    "link removed": ("relinked", "", ""),
    "archived": ("archived", "", ""),
    "left by our account": ("left_offline", "", "left by our own account"),
    "shut down": ("left_offline", "", "no longer among our joined rooms"),
    "owner left": ("orphaned_no_owner", "", "left"),
    "owner banned": ("orphaned_no_owner", "", "was banned"),
    "owner left the space": ("orphaned_no_owner", "", "left"),
    "encrypted": ("encrypted", "", ""),
    "replaced, joined": ("tombstoned", "", "(joined)"),
    "replaced, not joined": ("tombstoned", "", "(not joined)"),
    "replaced by nothing": ("tombstoned", "", "!nowhere:greenroom.test (not joined)"),
    "replacement of replaced, joined": ("conflict", "identity_missing", ""),
    "power lost": ("power_lost", "", "our power is 50"),
    "invited": ("invite_pending", "", ""),
    "malformed": ("conflict", "malformed_identity", "kind is 'sofa'"),
    "mismatch": ("conflict", "local_mismatch", "row said C14"),
    "same chat twice": ("conflict", "duplicate_chat_id", "C1 of"),
    "two spaces": ("conflict", "duplicate_space", "space of"),
    "space and chat at once": ("conflict", "kind_mismatch", "identity says space"),
    "no identity": ("conflict", "identity_missing", ""),
    "forged": ("conflict", "forged_identity", "written by"),
    "other instance": ("unchanged or skipped", "", ""),
}


@pytest.mark.parametrize("drift", EXPECTED)
async def test_each_drift_is_reported_as_what_it_is(drifted, drift):
    """One outcome per room, with the reason a person needs."""
    outcome, reason, detail = drifted.outcome(drift)

    wanted = EXPECTED[drift]
    assert (outcome, reason) == wanted[:2]
    assert wanted[2] in detail


async def test_the_counters_add_up_and_nothing_was_written(drifted):
    """Also in the worst of states; the sum and `server_writes: 0` are checked by `counters`."""
    counted = counters(drifted.bot)

    assert counted["conflict"] == sum(1 for outcome, *_ in EXPECTED.values() if outcome == "conflict")
    assert counted["tombstoned"] == 3


async def test_a_second_start_finds_everything_settled(drifted):
    """What was marked stays marked: only lasting conflicts and the invite, answered meanwhile, still differ."""
    greeting = message(sender=drifted.bot.user_id, room=drifted.rooms["invited"])
    await drifted.carol.until(greeting, watch=[drifted.bot])
    before = mapping(drifted.bot)

    await drifted.bot.restart()

    lasting = {entry["outcome"] for entry in outcomes(drifted.bot).values()}
    assert lasting == {"conflict"}
    assert mapping(drifted.bot) == before


async def test_a_forged_identity_gains_nothing(drifted):
    """The victim's chat keeps working; in the forger's room nothing is routed."""
    answer = await ask(drifted.alice, drifted.bot, drifted.scene.chat, "mine?")

    assert answer.body == "mine?"
    assert (drifted.rooms["forged"], "C1", drifted.alice.user_id) not in mapping(drifted.bot)
    assert (drifted.scene.chat, "C1", drifted.alice.user_id) in mapping(drifted.bot)
