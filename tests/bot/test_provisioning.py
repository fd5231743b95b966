"""From an invite to a Space and a first chat: each room is made once, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from greenroom_bot.matrix.ids import ChatId
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.identity import IDENTITY_TYPE
from greenroom_bot.rooms.records import Intent
from greenroom_bot.rooms.store import SQLiteStore
from greenroom_bot.rooms.view import room_view
from tests.bot.factory import ALICE, CAROL, CHAT_ROW, DAVE, ME, event

CREATE = "POST /createRoom"


def made(server, kind=None):
    """Return the rooms that the bot made, in order; of one kind if given."""
    identities = [(room, room.state.get((IDENTITY_TYPE, ""))) for room in server.rooms.values()]
    return [room for room, found in identities if found and kind in (None, found["content"]["kind"])]


async def provisioned(server, direct):
    await server.until(lambda: direct.said(), "the bot to say what it made")


async def test_an_invited_bot_makes_one_space_and_one_chat_and_says_so(server, start):
    """An invited bot joins, records the room in `m.direct`, makes one Space and one chat, and says so."""
    await start().live()

    direct = await server.invite()
    await provisioned(server, direct)

    assert direct.membership() == "join"
    assert server.account_data["m.direct"] == {ALICE: ["!direct:hs1"]}
    (space,), (chat,) = made(server, "space"), made(server, "chat")
    bodies = [r.body for r in server.requests if r.path == "/createRoom"]
    for body in bodies:
        assert body["invite"] == [ALICE]
        assert IDENTITY_TYPE in [state["type"] for state in body["initial_state"]]
        assert body["power_level_content_override"]["events"][IDENTITY_TYPE] == 100
        assert body["power_level_content_override"]["users"] == {ALICE: 10}
    assert space.state["m.room.create", ""]["content"]["type"] == "m.space"
    assert chat.state[IDENTITY_TYPE, ""]["content"]["space_id"] == space.room_id
    assert space.state["m.space.child", chat.room_id]["content"]["via"] == ["hs1"]
    (said,) = direct.said()
    assert space.room_id in said
    assert chat.room_id in said


async def test_the_first_chat_answers(server, start):
    """The first chat answers as soon as its owner is in it."""
    await start().live()
    await provisioned(server, await server.invite())
    (chat,) = made(server, "chat")
    chat.member(ALICE, "join")

    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    assert chat.said() == ["hello"]


@pytest.mark.parametrize("lost", [502, None], ids=["502 page", "cut"])
@pytest.mark.parametrize("which", ["space", "chat"])
async def test_a_room_whose_answer_was_lost_is_found_again_and_not_made_twice(server, start, lost, which):
    """If `createRoom` took effect and its answer was lost, the bot finds the room by the request in its identity."""
    if which == "chat":
        server.space().member(ALICE, "join")
    server.fail(CREATE, lost, after=True)
    await start().live()

    await provisioned(server, await server.invite())

    assert len(made(server, "space")) == len(made(server, "chat")) == 1
    assert server.count(CREATE) == (2 if which == "space" else 1)


@pytest.mark.parametrize("failure", [502, 429, None])
async def test_a_room_that_was_not_made_is_made_at_the_next_attempt(server, start, failure):
    """If `createRoom` fails for a while, the bot tries again and makes each room once."""
    body = {"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1} if failure == 429 else "<html>"
    server.fail(CREATE, failure, body, times=2)
    await start().live()

    await provisioned(server, await server.invite())

    assert len(made(server)) == 2
    assert server.count(CREATE) == 4


@pytest.mark.parametrize(
    "moment",
    ["PUT /user/.*/m.direct", "POST /join", CREATE, "GET /rooms/!made.*/state", "PUT .*/m.space.child", "PUT .*/send/"],
)
async def test_a_bot_killed_at_any_step_of_provisioning_finishes_it_once_at_the_next_start(
    server, start, moment, monkeypatch
):
    """A bot killed at any step of an invite finishes the rest at the next start, and makes nothing twice."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    gate = server.hold(moment)
    first = await start().live()
    direct = await server.invite()
    await server.until(lambda: server.faults[0].times == 0, moment)
    await first.stop()
    gate.set()

    await start().live()
    await provisioned(server, direct)

    assert len(made(server, "space")) == len(made(server, "chat")) == 1
    assert len(direct.said()) == 1


async def test_an_invite_that_came_while_the_bot_was_down_is_answered_once_live(server, start):
    """The report counts an invite that came while the bot was down, and the live bot answers it."""
    direct = await server.invite()

    run = await start().live()
    await provisioned(server, direct)

    assert run.logged("matrix_reconcile_complete")[0]["outcomes"]["invite_pending"] == 1
    assert len(made(server)) == 2


async def test_an_invite_that_is_told_twice_is_accepted_once(server, start):
    """An invite that comes by snapshot and by sync is accepted once."""
    first = await start().live()
    await first.stop()
    direct = await server.invite()

    await start().live()
    await provisioned(server, direct)

    assert server.count("POST /join") == 1
    assert server.count(CREATE) == 2


async def test_a_second_direct_chat_gets_no_second_space(server, start):
    """A second direct chat of a person makes no rooms; the bot names those that exist."""
    await start().live()
    await provisioned(server, await server.invite())

    second = await server.invite("!again:hs1")
    await provisioned(server, second)

    assert len(made(server)) == 2
    assert "already" in second.said()[0]
    assert server.account_data["m.direct"] == {ALICE: ["!direct:hs1", "!again:hs1"]}


async def test_what_else_is_in_m_direct_is_kept(server, start):
    """The bot keeps what other clients of the account wrote into `m.direct`."""
    server.account_data["m.direct"] = {CAROL: ["!old:hs1"]}
    await start().live()

    await provisioned(server, await server.invite())

    assert server.account_data["m.direct"] == {CAROL: ["!old:hs1"], ALICE: ["!direct:hs1"]}


async def test_two_invites_at_the_same_moment_are_both_recorded_and_greeted(server, start):
    """Of two invites at the same moment, neither write of `m.direct` takes out what the other put in."""
    server.space("!chat")
    chat = server.chat()
    await start().live()
    gate = server.hold("GET /user/.*/m.direct")

    first = await server.invite("!first:hs1", CAROL)
    await server.until(lambda: server.count("GET /user/.*/m.direct"))
    second = await server.invite("!second:hs1", DAVE)
    await server.say(chat, "the second invite has come in by now")
    await server.until(lambda: chat.said())
    gate.set()
    await provisioned(server, first)
    await provisioned(server, second)

    assert server.account_data["m.direct"] == {CAROL: ["!first:hs1"], DAVE: ["!second:hs1"]}


async def test_m_direct_that_cannot_be_read_is_not_written_over(server, start):
    """If `m.direct` cannot be read, the bot does not write it, and leaves the invite pending with a log line."""
    run = await start().live()
    server.fail("GET /user/.*/m.direct", 403, {"errcode": "M_FORBIDDEN", "error": "no"})

    await server.invite()
    await server.until(lambda: run.logged("invite_failed"))

    assert server.count("PUT /user/.*/m.direct") == server.count("POST /join") == 0


async def test_a_direct_room_whose_state_fails_once_is_still_known(server, start):
    """A direct room whose state fails to load once still gets its row."""
    await start().live()
    server.fail("GET /rooms/!direct:hs1/state", 502)
    direct = await server.invite()
    await provisioned(server, direct)

    await server.say(direct, "!chats")
    await server.until(lambda: len(direct.said()) == 2)

    assert "C1" in direct.said()[1]


# Rooms whose making was interrupted


@pytest.fixture
def chats(client, tmp_path):
    """A ChatManager with a store of its own."""
    store = SQLiteStore(tmp_path / "bot.db")
    yield ChatManager(client, store)
    store.close()


async def test_a_room_that_somebody_else_found_meanwhile_is_not_made_again(server, chats):
    """If another handler found the room after a lost answer, the bot does not make it again."""
    server.space().member(ALICE, "join")
    await chats._look("!space")
    server.fail(CREATE, 502, after=True)
    server.hold("GET /joined_rooms").set()  # the look before the attempt
    gate = server.hold("GET /joined_rooms")  # the look after it

    making = asyncio.ensure_future(chats.new_chat(ALICE, "Notes", "$asked"))
    await server.until(lambda: server.count("GET /joined_rooms") == 2)
    (room,) = made(server, "chat")
    await chats._look(room.room_id)
    gate.set()
    row = (await making).chat

    assert row.room_id == room.room_id
    assert server.count(CREATE) == 1


async def test_a_room_that_is_still_being_made_is_looked_at_again(server, chats):
    """A room of ours without an identity is looked at again, because the homeserver puts the bot in first."""
    wanted = Intent("$asked", "chat", ChatId("C1"), ALICE)
    half = server.room("!half")
    server.room("!foreign", creator=CAROL).member(ME, "join")
    assert await chats._find(wanted) is None

    half.member(ALICE, "invite", by=ME).identity(request="$asked", space_id=None)
    found = await chats._find(wanted)

    assert found.room_id == "!half"
    assert server.count("GET /rooms/!half/state") == 2
    assert server.count("GET /rooms/!foreign/state") == 1


async def test_a_chat_that_was_not_linked_before_a_crash_is_linked_in_the_records_too(server, chats):
    """A chat that is linked after a crash is also linked in its row."""
    server.space()
    server.chat()
    await chats._look("!space")
    chats.store.write_rooms([replace(CHAT_ROW, linked=False, request="$asked")])

    row = (await chats.new_chat(ALICE, "", "$asked")).chat

    assert server.rooms["!space"].state["m.space.child", "!chat"]["content"] == {"via": ["hs1"]}
    assert row == chats.store.room("!chat")
    assert row.linked


@pytest.mark.parametrize(
    ("person", "direct"), [("@mallory:evil", True), (ALICE, False)], ids=["stranger", "not direct"]
)
async def test_other_invites_are_declined_with_a_log_line(server, start, person, direct):
    """The bot declines an invite of a stranger, and one into a room that is no direct chat."""
    run = await start().live()

    room = await server.invite("!other:hs1", person, direct=direct)
    await server.until(lambda: room.membership() == "leave")

    assert run.logged("invite_declined")[0]["user_id"] == person
    assert server.count(CREATE) == 0


async def test_a_forged_identity_in_a_direct_room_gains_nothing(server, start):
    """A person who forges an identity in a direct room gets a Space of her own, and nothing of others."""
    await start().live()
    trap = server.room("!direct:hs1", creator=CAROL)
    trap.identity(by=CAROL)
    trap.member(ME, "invite", by=CAROL, is_direct=True)
    await server.nudge()

    await server.until(lambda: len(made(server, "chat")) == 2, "her own chat, beside the forgery")

    owners = {room.state[IDENTITY_TYPE, ""]["content"]["owner"] for room in made(server) if room is not trap}
    assert owners == {CAROL}


async def test_an_invite_that_cannot_be_joined_is_given_up_with_a_log_line(server, start):
    """The bot gives up an invite that it cannot join, and answers the next one."""
    server.fail("POST /join", 403, {"errcode": "M_FORBIDDEN", "error": "not invited"})
    run = await start().live()

    await server.invite("!withdrawn:hs1")
    await server.until(lambda: run.logged("invite_failed"))
    await provisioned(server, await server.invite())

    assert len(made(server)) == 2


async def test_a_room_that_the_server_refuses_is_told_in_the_direct_room(server, start):
    """If the homeserver refuses to make a room, the bot says why in the direct room."""
    server.fail(CREATE, 403, {"errcode": "M_FORBIDDEN", "error": "You may not create rooms"})
    await start().live()

    direct = await server.invite()
    await provisioned(server, direct)

    assert direct.said() == ["The homeserver refused that: You may not create rooms"]


async def test_encrypted_chats_are_born_encrypted(server, start):
    """With MATRIX_ENCRYPT_ROOMS chats are encrypted from their first event, and Spaces are not."""
    await start(encrypt_rooms=True).live()

    await provisioned(server, await server.invite())

    assert ("m.room.encryption", "") in made(server, "chat")[0].state
    assert ("m.room.encryption", "") not in made(server, "space")[0].state


async def test_a_room_that_we_are_out_of_again_stops_no_making(server, chats):
    """A joined room that the bot was kicked from meanwhile does not stop the making of another."""
    server.room("!gone")
    server.fail("GET /rooms/!gone/state", 403, {"errcode": "M_FORBIDDEN", "error": "not in the room"})

    assert await chats._find(Intent("$asked", "chat", ChatId("C1"), ALICE)) is None


async def test_a_room_from_before_a_crash_has_time_to_appear(server, chats, monkeypatch):
    """After a crash the bot waits for a room that the homeserver may still be making, and makes no second one."""
    monkeypatch.setattr("greenroom_bot.rooms.chats.SETTLE_S", 0.2)
    server.space()
    await chats._look("!space")
    chats.store.add_intent(Intent("$asked", "chat", ChatId("C1"), ALICE))
    appear = lambda: server.chat(request="$asked")  # noqa: E731
    asyncio.get_running_loop().call_later(0.05, appear)

    row = (await chats.new_chat(ALICE, "", "$asked")).chat

    assert row.room_id == "!chat"
    assert server.count(CREATE) == 0


def test_an_invite_in_several_names_is_in_nobodys():
    """An invite whose stripped state names several inviters has none: the inviter's server may have forged it."""
    forged = event("m.room.member", {"membership": "invite", "is_direct": True}, sender=ALICE, state_key=ME)
    real = event("m.room.member", {"membership": "invite"}, sender="@mallory:evil", state_key=ME)

    assert room_view("!x", [forged, real], ME, default="invite").invited_by == ""
    assert room_view("!x", [real, forged], ME, default="invite").invited_by == ""
    assert room_view("!x", [real], ME, default="invite").invited_by == "@mallory:evil"
