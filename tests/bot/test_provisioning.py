"""From an invite to a Space and a first chat: each room once, whatever gets lost on the way."""

from __future__ import annotations

import pytest

from bot.identity import IDENTITY_TYPE
from tests.bot.factory import ALICE, CAROL, ME

CREATE = "POST /createRoom"


def made(server, kind=None):
    """The rooms that the bot made, in order; of one kind if given."""
    identities = [(room, room.state.get((IDENTITY_TYPE, ""))) for room in server.rooms.values()]
    return [room for room, found in identities if found and kind in (None, found["content"]["kind"])]


async def provisioned(server, direct):
    await server.until(lambda: direct.said(), "the bot to say what it made")


async def test_an_invited_bot_makes_one_space_and_one_chat_and_says_so(server, start):
    """Joined, recorded in m.direct, identity in initial_state, the person invited in createRoom itself."""
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
        assert "users" not in body["power_level_content_override"]
    assert space.state["m.room.create", ""]["content"]["type"] == "m.space"
    assert chat.state[IDENTITY_TYPE, ""]["content"]["space_id"] == space.room_id
    assert space.state["m.space.child", chat.room_id]["content"]["via"] == ["hs1"]
    (said,) = direct.said()
    assert space.room_id in said
    assert chat.room_id in said


async def test_the_first_chat_answers(server, start):
    """As soon as its owner is in."""
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
    """createRoom had taken effect; its request is in the identity."""
    if which == "chat":
        server.space().member(ALICE, "join")
    server.fail(CREATE, lost, after=True)
    await start().live()

    await provisioned(server, await server.invite())

    assert len(made(server, "space")) == len(made(server, "chat")) == 1
    assert server.count(CREATE) == (2 if which == "space" else 1)


@pytest.mark.parametrize("failure", [502, 429, None])
async def test_a_room_that_was_not_made_is_made_at_the_next_attempt(server, start, failure):
    """After a look whether it was."""
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
    """The request had reached the server, its answer had not reached the bot."""
    monkeypatch.setattr("bot.app.DRAIN_S", 0)
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
    """After the report, which counts it as pending."""
    direct = await server.invite()

    run = await start().live()
    await provisioned(server, direct)

    assert run.logged("matrix_reconcile_complete")[0]["outcomes"]["invite_pending"] == 1
    assert len(made(server)) == 2


async def test_an_invite_that_is_told_twice_is_accepted_once(server, start):
    """nio calls for the inviter's member event too, and a pending one comes by snapshot and by sync."""
    first = await start().live()
    await first.stop()
    direct = await server.invite()

    await start().live()
    await provisioned(server, direct)

    assert server.count("POST /join") == 1
    assert server.count(CREATE) == 2


async def test_a_second_direct_chat_gets_no_second_space(server, start):
    """The person is told about what they have."""
    await start().live()
    await provisioned(server, await server.invite())

    second = await server.invite("!again:hs1")
    await provisioned(server, second)

    assert len(made(server)) == 2
    assert "already" in second.said()[0]
    assert server.account_data["m.direct"] == {ALICE: ["!direct:hs1", "!again:hs1"]}


async def test_what_else_is_in_m_direct_is_kept(server, start):
    """Another client of the account may have written it."""
    server.account_data["m.direct"] = {CAROL: ["!old:hs1"]}
    await start().live()

    await provisioned(server, await server.invite())

    assert server.account_data["m.direct"] == {CAROL: ["!old:hs1"], ALICE: ["!direct:hs1"]}


@pytest.mark.parametrize(
    ("person", "direct"), [("@mallory:evil", True), (ALICE, False)], ids=["stranger", "not direct"]
)
async def test_other_invites_are_declined_with_a_log_line(server, start, person, direct):
    """From people who may not use the bot, and into rooms that are no direct chats."""
    run = await start().live()

    room = await server.invite("!other:hs1", person, direct=direct)
    await server.until(lambda: room.membership() == "leave")

    assert run.logged("invite_declined")[0]["user_id"] == person
    assert server.count(CREATE) == 0


async def test_a_forged_identity_in_a_direct_room_gains_nothing(server, start):
    """Carol claims Alice's Space in the room that she invites the bot to: she gets a Space of her own."""
    await start().live()
    trap = server.room("!direct:hs1", creator=CAROL)
    trap.identity(by=CAROL)
    trap.member(ME, "invite", by=CAROL, is_direct=True)
    await server.nudge()

    await server.until(lambda: len(made(server, "chat")) == 2, "her own chat, beside the forgery")

    owners = {room.state[IDENTITY_TYPE, ""]["content"]["owner"] for room in made(server) if room is not trap}
    assert owners == {CAROL}


async def test_an_invite_that_cannot_be_joined_is_given_up_with_a_log_line(server, start):
    """It was withdrawn, say; the next one works."""
    server.fail("POST /join", 403, {"errcode": "M_FORBIDDEN", "error": "not invited"})
    run = await start().live()

    await server.invite("!withdrawn:hs1")
    await server.until(lambda: run.logged("invite_failed"))
    await provisioned(server, await server.invite())

    assert len(made(server)) == 2


async def test_a_room_that_the_server_refuses_is_told_in_the_direct_room(server, start):
    """Room creation may be forbidden on a server."""
    server.fail(CREATE, 403, {"errcode": "M_FORBIDDEN", "error": "You may not create rooms"})
    await start().live()

    direct = await server.invite()
    await provisioned(server, direct)

    assert direct.said() == ["The homeserver refused that: You may not create rooms"]


async def test_encrypted_chats_are_born_encrypted(server, start):
    """MATRIX_ENCRYPT_ROOMS: in initial_state, chats only."""
    await start(encrypt_rooms=True).live()

    await provisioned(server, await server.invite())

    assert ("m.room.encryption", "") in made(server, "chat")[0].state
    assert ("m.room.encryption", "") not in made(server, "space")[0].state
