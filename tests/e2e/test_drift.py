"""Every drift that people or an administrator can cause from outside, and what the next start reports of it.

Most tests share one scene: a bot, a person with many chats, everything changed while the bot is down, one start. Each
test then looks at what that start reported. `as_bot` is the bot's own account on another device, as somebody with the
bot's token would use it: no other account has enough power for some of the changes. So the scene needs no admin API.
What an administrator does without an account in the room has a test of its own, for homeservers that have one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from greenroom import must
from greenroom.bot_process import RunningBot
from greenroom.homeserver import Capability, RunningHomeserver
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi
from greenroom.people.person import Person, person_on
from greenroom.session import BotFactory, PersonFactory, Session
from tests.e2e.scene import IDENTITY, Scene, identity, mapping, outcomes, set_up, sound_counters, start_report


@dataclass
class Drifted:
    """The scene after the start: which room had which drift, and what the start reported."""

    bot: RunningBot
    alice: Person
    carol: Person
    dave: Person
    scene: Scene
    rooms: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def outcome(self, drift: str) -> tuple[str, str, str]:
        """Return (outcome, reason, detail) as reported for the room with that drift."""
        entry = self.outcomes[self.rooms[drift]]
        return entry["outcome"], entry.get("reason", ""), entry.get("detail", "")

    def names(self, drift: str) -> dict[str, str]:
        """Return the ids that the detail for the room with that drift may name."""
        people = {"alice": self.alice.user_id, "carol": self.carol.user_id, "dave": self.dave.user_id}
        rooms = {"space": self.scene.space, "chat": self.scene.chat}
        return {**people, **rooms, "replacement": self.rooms.get(f"replacement of {drift}", "")}


async def _version_11_chat(as_bot: Person, owner: str, space: str, chat_id: str) -> str:
    """Make a chat of the bot in room version 11. There its power can be lost: the creator is only a listed user."""
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
        await must.answer(alice, bot, scene.direct, f"!new Chat {number}", containing=f"Made C{number} ")
    await alice.join_invites()
    made = [identity("chat", owner=alice.user_id, chat_id=f"C{number}") for number in range(2, count + 2)]
    return [await must.see(alice, chat, watch=[bot]) for chat in made]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def drifted(greenroom: Session, homeserver: RunningHomeserver) -> AsyncIterator[Drifted]:
    """Set the scene, change everything while the bot is down, start it."""
    async with AsyncExitStack() as stack:
        account = await register(homeserver, unique_localpart("bot", "drift"))
        bot = await BotFactory(greenroom, stack, "drift", homeserver)(account=account)
        make_person = PersonFactory(greenroom, stack, "drift", homeserver)
        alice, carol, dave = [await make_person(name) for name in ("alice", "carol", "dave")]
        as_bot = await stack.enter_async_context(person_on(homeserver, account))
        result = Drifted(bot, alice, carol, dave, await set_up(alice, bot))
        carols, daves = await set_up(carol, bot), await set_up(dave, bot)
        chats = iter(await _many_chats(alice, bot, result.scene, 14))
        space, rooms = result.scene.space, result.rooms
        old = await _version_11_chat(as_bot, alice.user_id, space, "C90")
        kicked = await _version_11_chat(as_bot, alice.user_id, space, "C91")
        levels = await as_bot.state(kicked, "m.room.power_levels") or {}
        users = {as_bot.user_id: 50, alice.user_id: 100}
        await as_bot.set_state(kicked, "m.room.power_levels", {**levels, "users": users})
        for chat in (old, kicked):
            await alice.join(chat)
        await bot.restart()  # knows the old-version chats now
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
            new = await as_bot.upgrade(take(drift), "12")
            if drift.endswith("not joined"):
                await as_bot.leave(new)
            rooms[f"replacement of {drift}"] = new
        await as_bot.set_state(take("replaced by nothing"), "m.room.tombstone", {
            "body": "closed", "replacement_room": "!nowhere:greenroom.test"})  # fmt: skip
        await as_bot.set_state(take("malformed"), IDENTITY, {"v": 1, "kind": "sofa"})
        await as_bot.set_state(take("other instance"), IDENTITY, _identity_content(
            alice.user_id, space, "C13", instance="staging"))  # fmt: skip
        await as_bot.set_state(take("mismatch"), IDENTITY, _identity_content(alice.user_id, space, "C99"))
        await as_bot.leave(take("left and forgotten"))
        await as_bot.forget(rooms["left and forgotten"])
        await alice.kick(kicked, account.user_id, "too loud")
        rooms["kicked by its owner"] = kicked
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
        result.outcomes, result.report = outcomes(bot), start_report(bot)
        yield result


FORGOTTEN = "no longer among our joined rooms"
EXPECTED = {
    "renamed": ("renamed", "", ""),
    "space renamed": ("renamed", "", ""),
    "link removed": ("relinked", "", ""),
    "archived": ("archived", "", ""),
    "left by our account": ("left_offline", "", "left by our own account"),
    "left and forgotten": ("left_offline", "", FORGOTTEN),
    "kicked by its owner": ("left_offline", "", "kicked by {alice}: too loud"),
    "owner left": ("orphaned_no_owner", "", "{alice} left"),
    "owner banned": ("orphaned_no_owner", "", "{alice} was banned"),
    "owner left the space": ("orphaned_no_owner", "", "{dave} left"),
    "encrypted": ("encrypted", "", ""),
    "replaced, joined": ("tombstoned", "", "replaced by {replacement} (joined)"),
    "replaced, not joined": ("tombstoned", "", "replaced by {replacement} (not joined)"),
    "replaced by nothing": ("tombstoned", "", "replaced by !nowhere:greenroom.test (not joined)"),
    "replacement of replaced, joined": ("conflict", "identity_missing", "no identity event in the room's state"),
    "power lost": ("power_lost", "", "our power is 50"),
    "invited": ("invite_pending", "", ""),
    "malformed": ("conflict", "malformed_identity", "kind is 'sofa'"),
    "mismatch": ("conflict", "local_mismatch", "row said C14 of {alice}"),
    "same chat twice": ("conflict", "duplicate_chat_id", "C1 of {alice} is {chat}"),
    "two spaces": ("conflict", "duplicate_space", "space of {alice} is {space}"),
    "space and chat at once": ("conflict", "kind_mismatch", "identity says space, the room's type disagrees"),
    "no identity": ("conflict", "identity_missing", "no identity event in the room's state"),
    "forged": ("conflict", "forged_identity", "written by {carol}"),
}
UNCHANGED = 4  # Alice's Space and first chat, Carol's chat, Dave's chat
SKIPPED = {
    "direct_room": 3,
    "other_instance": 1,
    "left_before": 1,  # the replacement that was left
}


@pytest.mark.parametrize("drift", EXPECTED)
async def test_each_drift_is_reported_as_what_it_is(drifted, drift):
    """A start reports each drift with one outcome, and with the reason and detail that a person needs."""
    outcome, reason, detail = EXPECTED[drift]

    found = drifted.outcome(drift)
    assert found[:2] == (outcome, reason)
    # A homeserver may tell also what happened before a room was forgotten.
    known = {FORGOTTEN, EXPECTED["left by our account"][2]} if detail == FORGOTTEN else set()
    assert found[2] in known | {detail.format_map(drifted.names(drift))}


async def test_the_counters_add_up_and_nothing_was_written(drifted):
    """After every kind of drift at once the counters of the report add up, and the start has written nothing."""
    counted = sound_counters(drifted.report)

    expected = Counter(outcome for outcome, *_ in EXPECTED.values())
    assert counted == {**expected, "unchanged": UNCHANGED, "skipped": sum(SKIPPED.values())}
    assert drifted.report["reasons"] == {**Counter(reason for _, reason, _ in EXPECTED.values() if reason), **SKIPPED}
    assert set(drifted.outcomes) == {drifted.rooms[drift] for drift in EXPECTED}


async def test_a_second_start_finds_everything_settled(drifted):
    """A second start changes no record; it reports the lasting conflicts again and nothing else."""
    await must.say(drifted.carol, drifted.bot, drifted.rooms["invited"])  # the invite is accepted meanwhile
    before = mapping(drifted.bot)

    await drifted.bot.restart()

    again = {room: (entry["outcome"], entry["reason"]) for room, entry in outcomes(drifted.bot).items()}
    conflicts = {drifted.rooms[drift]: each[:2] for drift, each in EXPECTED.items() if each[0] == "conflict"}
    del conflicts[drifted.rooms["mismatch"]]  # settled: the record follows the server
    assert again == conflicts
    assert mapping(drifted.bot) == before


async def test_a_forged_identity_gains_nothing(drifted):
    """A room with somebody else's forged identity event is not routed to the victim's chat, which keeps working."""
    answer = await must.answer(drifted.alice, drifted.bot, drifted.scene.chat, "mine?")

    assert answer.body == "mine?"
    assert drifted.rooms["forged"] not in {room for room, *_ in mapping(drifted.bot)}
    assert (drifted.scene.chat, "C1", drifted.alice.user_id) in mapping(drifted.bot)


async def test_a_room_that_an_administrator_shut_down_is_reported_as_left(homeserver, bot, person):
    """The admin API puts everybody out of a room without an account in it. The next start marks the chat as left."""
    homeserver.require(Capability.ADMIN_API)
    alice, admin = await person("alice"), await person("admin", admin=True)
    its_bot = await bot()
    scene = await set_up(alice, its_bot)
    await its_bot.stop()

    async with MatrixApi(homeserver.url) as api:
        path = f"/_synapse/admin/v1/rooms/{scene.chat}"
        await api.call("DELETE", path, json={"purge": False}, token=admin.account.access_token)
    await its_bot.start_again()

    entry = outcomes(its_bot)[scene.chat]
    assert (entry["outcome"], entry["detail"]) == ("left_offline", FORGOTTEN)
