"""The live bot in its rooms: who is answered, once, in which order, and what it makes of changes."""

from __future__ import annotations

import pytest

from greenroom_bot.matrix.errors import SessionOver
from tests.bot.factory import ALICE, CAROL, ME, event

# Messages


async def test_messages_are_answered_in_order_each_once(server, start, chat):
    """By an echo, unless another responder is set."""
    await start().live()

    for word in ("one", "two", "three"):
        await server.say(chat, word)
    await server.until(lambda: len(chat.said()) == 3)

    assert chat.said() == ["one", "two", "three"]


async def test_texts_are_logged_on_demand_only(server, start, chat):
    """With MATRIX_LOG_MESSAGES the line of a message has room name, text and answer; otherwise none of them."""
    quiet = await start().live()
    await server.say(chat, "private matter")
    await server.until(lambda: quiet.logged("message_handled"))
    await quiet.stop()
    said_in_quiet = str(quiet.log_lines)
    quiet.config.db_path.unlink()

    open_run = await start(log_messages=True).live()
    await server.say(chat, "hello\nbot")
    await server.say(chat, "* hello", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}})
    await server.say(chat, "!nonsense", CAROL)
    await server.say(chat, "again", CAROL)
    direct = await server.invite()
    await server.until(lambda: direct.said())
    await server.say(direct, "psst")
    await server.until(lambda: len(open_run.logged("message_handled")) == 4)

    assert "private matter" not in str(quiet.logged("message_handled"))
    assert "Chat 1" not in said_in_quiet
    assert {"Chat 1", "Chats of alice"} == {line["room"] for line in open_run.logged("room_drifted")}
    texts = [(line["room"], line["body"], line["answer"]) for line in open_run.logged("message_handled")]
    only_owner = "Only this room's owner can give me commands."
    assert texts == [
        ("Chat 1", "hello⏎bot", "hello⏎bot"),
        ("Chat 1", "!nonsense", only_owner),
        ("Chat 1", "again", ""),
        ("direct chat", "psst", "Write to me in one of your chats; !chats lists them, !help the rest."),
    ]


async def test_what_needs_no_answer_gets_none(server, start, chat):
    """Notices (other bots' words), edits, the bot's own words, blank ones and things that are no text."""
    await start().live()

    await server.add(chat, event("m.room.message", {"msgtype": "m.notice", "body": "beep"}, sender=ALICE))
    await server.say(chat, "* hello", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}})
    await server.say(chat, "my own", ME)
    await server.say(chat, "   ")
    await server.add(
        chat, event("m.room.message", {"msgtype": "m.image", "body": "x.png", "url": "mxc://x/y"}, sender=ALICE)
    )
    await server.add(chat, event("m.reaction", {"m.relates_to": {}}, sender=ALICE))
    await server.add(chat, event("m.room.message", {"msgtype": "m.text"}, sender=ALICE))
    await server.say(chat, "last")
    await server.until(lambda: "last" in chat.said())

    assert chat.said() == ["my own", "last"]


async def test_a_slow_answer_holds_up_no_other_room(server, start, chat):
    """Order is kept within a room only."""
    other = server.chat("!other", chat_id="C2", request="$other")
    await start().live()
    gate = server.hold(r"PUT /rooms/!chat/send")

    await server.say(chat, "slow")
    await server.until(lambda: server.count("PUT /rooms/!chat/send"))
    await server.say(chat, "after slow")
    await server.say(other, "quick")
    await server.until(lambda: other.said())
    assert chat.said() == ["slow"]
    gate.set()
    await server.until(lambda: len(chat.said()) == 2)

    assert chat.said() == ["slow", "after slow"]


@pytest.mark.parametrize("lost", [502, None], ids=["502 page", "cut"])
async def test_a_reply_whose_answer_is_lost_is_not_doubled(server, start, chat, lost):
    """It is sent again under the same transaction id, which the homeserver drops."""
    server.fail("PUT .*/send/", lost, after=True)
    await start().live()

    await server.say(chat, "hello")
    await server.say(chat, "next")
    await server.until(lambda: "next" in chat.said())

    assert chat.said() == ["hello", "next"]
    first, again = [r.path for r in server.requests if "/send/" in r.path][:2]
    assert first == again


async def test_a_rate_limited_reply_is_sent_later(server, start, chat):
    """Nothing is dropped for being too fast."""
    server.fail(
        "PUT .*/send/", 429, {"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 1}, times=3
    )
    await start().live()

    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    assert chat.said() == ["hello"]


async def test_a_reply_that_is_refused_is_logged_and_the_bot_lives_on(server, start, chat):
    """We may not speak there, say; no endless repeating."""
    server.fail("PUT .*/send/", 403, {"errcode": "M_FORBIDDEN", "error": "no"})
    run = await start().live()

    await server.say(chat, "one")
    await server.say(chat, "two")
    await server.until(lambda: chat.said())

    assert chat.said() == ["two"]
    assert run.logged("send_refused")


async def test_a_message_in_hand_when_killed_is_answered_once_by_the_next_start(server, start, chat, monkeypatch):
    """Its reply had reached the server, its record had not reached the disk."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    first = await start().live()
    gate = server.hold("PUT .*/send/")
    await server.say(chat, "hello")
    await server.until(lambda: chat.said())

    await first.stop()
    await start().live()
    await server.say(chat, "next")
    await server.until(lambda: "next" in chat.said())
    gate.set()

    assert chat.said() == ["hello", "next"]


async def test_a_dead_session_ends_the_bot_and_loses_no_message(server, start, chat):
    """SessionOver; the message in hand is answered after logging in again, on the same device."""
    first = await start().live()
    server.fail("PUT .*/send/", 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "gone"})
    await server.say(chat, "hello")
    ended = await first.ended()
    server.devices.clear()

    second = await start().live()
    await server.until(lambda: chat.said())

    assert isinstance(ended, SessionOver)
    assert chat.said() == ["hello"]
    devices = {r.body["device_id"] for r in server.requests if r.path == "/login"}
    assert len(devices) == 1
    assert second.logged("logged_in")[0]["fresh"] is True


async def test_a_failing_responder_is_told_and_concerns_no_other_message(server, start, chat):
    """The person gets a short apology, the log the reason."""
    run = await start(responder=f"{__name__}:make_fussy").live()

    await server.say(chat, "trouble")
    await server.say(chat, "fine")
    await server.until(lambda: "FINE" in chat.said())

    assert chat.said() == ["Sorry, answering this failed. It is in my log.", "FINE"]
    assert run.logged("responder_failed")


async def test_a_responder_may_stay_silent(server, start, chat):
    """None is no answer."""
    await start(responder=f"{__name__}:make_fussy").live()

    await server.say(chat, "hush")
    await server.say(chat, "fine")
    await server.until(lambda: chat.said())

    assert chat.said() == ["FINE"]


def make_fussy():
    async def respond(question):
        if question.body == "trouble":
            raise RuntimeError("the service is down")
        return None if question.body == "hush" else question.body.upper()

    return respond


async def test_quotations_of_a_reply_are_not_part_of_what_was_said(server, start, chat):
    """Older clients put the quoted lines before the text."""
    await start().live()

    quoting = "> <@bot:hs1> earlier\n> words\n\nand now this"
    await server.say(chat, quoting, **{"m.relates_to": {"m.in_reply_to": {"event_id": "$x"}}})
    await server.say(chat, "> a message of its own")
    await server.until(lambda: len(chat.said()) == 2)

    assert chat.said() == ["and now this", "> a message of its own"]


async def test_a_timeline_with_a_gap_is_answered_completely_and_in_order(server, start, chat):
    """Seventy messages while the bot was down: more than one sync carries."""
    first = await start().live()
    await first.stop()
    words = [f"m{n}" for n in range(70)]
    for word in words:
        server.append(chat, event("m.room.message", {"msgtype": "m.text", "body": word}, sender=ALICE))

    await start().live()
    await server.until(lambda: len(chat.said()) >= 70)

    assert chat.said() == words


async def test_a_gap_is_filled_back_to_what_was_handled_only(server, start, chat, monkeypatch):
    """Nothing is answered twice although the position lags behind."""
    monkeypatch.setattr("greenroom_bot.app.DRAIN_S", 0)
    other = server.chat("!other", chat_id="C2", request="$other")
    first = await start().live()
    gate = server.hold("PUT /rooms/!other/send")
    await server.say(other, "slow one keeps the position back")
    await server.until(lambda: other.said())
    for number in range(5):
        await server.say(chat, f"early{number}")
    await server.until(lambda: len(chat.said()) == 5)
    await first.stop()
    gate.set()
    for number in range(60):
        server.append(chat, event("m.room.message", {"msgtype": "m.text", "body": f"late{number}"}, sender=ALICE))

    await start().live()
    await server.until(lambda: len(chat.said()) >= 65)

    assert chat.said() == [f"early{n}" for n in range(5)] + [f"late{n}" for n in range(60)]


# Strangers


async def test_a_stranger_is_told_once_and_nothing_is_revealed(server, start, chat):
    """Only the chat's owner is obeyed; neither commands nor words of others reach the service."""
    chat.member(CAROL, "join")
    run = await start().live()

    for word in ("!status", "!chats", "!archive", "hello"):
        await server.say(chat, word, CAROL)
    await server.say(chat, "last")
    await server.until(lambda: "last" in chat.said())
    await run.stop()

    assert chat.said() == ["Only this room's owner can give me commands.", "last"]
    assert run.row().archived is False


async def test_a_stranger_who_comes_and_goes_is_told_once(server, start, chat):
    """Each join makes the bot look at the room again, and changes nothing about what was said to a person."""
    chat.member(CAROL, "join")
    await start().live()

    for round_ in range(5):
        await server.say(chat, "hello", CAROL)
        chat.member(CAROL, "leave")
        chat.member(CAROL, "join").named(f"Name {round_}")
        await server.nudge()
        await server.until(lambda: server.count("GET /rooms/!chat/state") > round_)  # noqa: B023 - called at once
    await server.say(chat, "hello", CAROL)
    await server.say(chat, "last")
    await server.until(lambda: "last" in chat.said())

    assert chat.said() == ["Only this room's owner can give me commands.", "last"]


async def test_an_owner_who_was_taken_off_the_list_is_told_once_and_not_answered(server, start, chat):
    """MATRIX_ALLOWED_USERS counts at every message."""
    other = server.chat("!carols", owner=CAROL, request="$carols")
    await start(allowed_users=(CAROL,)).live()

    await server.say(chat, "hello")
    await server.say(chat, "hello?")
    await server.say(other, "last", CAROL)
    await server.until(lambda: other.said() and chat.said())

    assert chat.said() == ["You may not use me any more."]


# Changes while live


async def test_being_kicked_is_recorded_with_who_did_it(server, start, chat):
    """nio ignores it."""
    run = await start().live()

    chat.member(ME, "leave", by=ALICE, reason="enough")
    await server.nudge()
    await server.until(lambda: run.logged("room_left"))
    await run.stop()

    assert (run.row().status, run.row().detail) == ("left", "kicked by @alice:hs1: enough")


async def test_being_let_back_in_makes_the_chat_active_again(server, start, chat):
    """An invite to a room of ours is accepted, and the room judged anew."""
    run = await start().live()
    chat.member(ME, "leave", by=ALICE)
    await server.nudge()
    await server.until(lambda: run.logged("room_left"))

    chat.member(ME, "invite", by=ALICE)
    await server.nudge()
    await server.until(lambda: chat.membership() == "join")
    await server.say(chat, "again")
    await server.until(lambda: "again" in chat.said())
    await run.stop()

    assert run.row().status == "active"


async def test_a_rename_while_live_is_followed(server, start, chat):
    """One request, no restart needed."""
    run = await start().live()

    chat.named("Groceries")
    await server.nudge()
    await server.until(lambda: server.count("GET /rooms/!chat/state"))
    await server.say(chat, "!status")
    await server.until(lambda: any("Groceries" in said for said in chat.said()))
    await run.stop()

    assert run.row().title == "Groceries"


async def test_a_second_change_during_the_judging_of_the_first_is_not_missed(server, start, chat):
    """The state fetched for the first change may be from before the second."""
    run = await start().live()
    gate = server.hold("GET /rooms/!chat/state")
    await server.until(lambda: server.count("GET /sync") >= 4, "the first long poll")
    chat.named("First")
    syncs = server.count("GET /sync")
    await server.nudge()
    await server.until(lambda: server.count("GET /rooms/!chat/state") and server.count("GET /sync") > syncs)

    chat.named("Second")
    syncs = server.count("GET /sync")
    await server.nudge()
    await server.until(lambda: server.count("GET /sync") > syncs, "the second change to have arrived")
    gate.set()
    await server.until(lambda: server.count("GET /rooms/!chat/state") == 2, "a second look")
    await server.say(chat, "!status")
    await server.until(lambda: chat.said())
    await run.stop()

    assert run.row().title == "Second"


async def test_a_failing_room_state_is_asked_for_again_at_the_next_change(server, start, chat):
    """A definite refusal stops nothing."""
    run = await start().live()
    server.fail("GET /rooms/!chat/state", 403, {"errcode": "M_FORBIDDEN", "error": "no"})

    chat.named("First")
    await server.nudge()
    await server.say(chat, "hello")
    await server.until(lambda: chat.said())
    chat.named("Second")
    await server.say(chat, "bye")
    await server.until(lambda: len(chat.said()) == 2)
    await run.stop()

    assert run.row().title == "Second"
