"""What people can do and see, and what `must` and `never` say when a test fails."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from greenroom import checks, must, never
from greenroom.bot_ready import first_sync
from greenroom.errors import CannotTell, Died, Happened, MatrixRefused, NotMet
from greenroom.people.person import Person
from tests.e2e.least_bots import ends_on_cue, give_cue

GOOD_BOT = [sys.executable, str(Path(__file__).parents[1] / "gallery" / "good.py")]


async def two_in_a_room(person, **room) -> tuple[Person, Person, str]:
    """Make a direct chat of Alice and Carol, and let both join it."""
    who = {"encrypted": True} if room.get("encrypted") else {}
    alice, carol = await person("alice", **who), await person("carol", **who)
    room_id = await alice.create_direct(carol.user_id, **room)
    await must.see(carol, checks.invited(by=alice.user_id, room=room_id))
    await carol.join(room_id)
    await must.see(alice, checks.joined(carol.user_id, room_id))
    return alice, carol, room_id


def untimed(error: Exception) -> str:
    """Return the message without its measured seconds, which differ from run to run."""
    return re.sub(r"\d+\.\d+ s\b", "… s", str(error))


@pytest.fixture
async def scene(person, bot, faults):
    """Alice, the gallery's good bot behind a proxy, and a direct chat of both."""
    alice = await person("alice")
    echo = await bot(GOOD_BOT, env={"BOT_OWNER": alice.user_id}, through=faults, ready=first_sync(faults))
    return alice, echo, await must.chat(alice, echo)


# -- acting and seeing


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_replies_edits_reactions_and_redactions_arrive_as_such(person, encrypted):
    """A reply, an edit, a reaction and a redaction each have a check that finds them, in encrypted rooms too."""
    alice, carol, room = await two_in_a_room(person, encrypted=encrypted)
    said = await alice.send_text(room, "helo")
    await must.see(carol, checks.message("helo", sender=alice.user_id, room=room))

    reply = await carol.reply(room, said, "hello!")
    edit = await alice.edit(room, said, "hello")
    reaction = await carol.react(room, said, "👍")
    seen = [
        await must.see(alice, check)
        for check in (
            checks.reply_to(said, sender=carol.user_id, text="hello!"),
            checks.edit_of(said, text="hello"),
            checks.reaction(said, "👍", sender=carol.user_id),
        )
    ]
    redaction = await carol.redact(room, reply)
    gone = await must.see(alice, checks.redaction(reply, sender=carol.user_id))

    assert [event.event_id for event in seen] == [reply, edit, reaction]
    assert [event.encrypted for event in seen] == [encrypted, encrypted, False]  # reactions go in the clear
    assert gone.event_id == redaction


async def test_a_ban_keeps_out_until_it_is_lifted(person):
    """A banned person cannot join again until the ban is lifted and a new invite is sent."""
    alice, carol = await person("alice"), await person("carol")
    room = await alice.create_room(invite=[carol.user_id])  # in a direct chat both would have every power
    await carol.join(room)

    await alice.ban(room, carol.user_id, "noise")
    await must.see(carol, checks.membership(carol.user_id, room, "ban"))
    with pytest.raises(MatrixRefused, match="banned"):
        await carol.join(room)
    await alice.unban(room, carol.user_id)
    await alice.invite(room, carol.user_id)
    await carol.join(room)

    assert await alice.members(room) == {alice.user_id, carol.user_id}


async def test_an_upgraded_room_says_where_it_went(person):
    """In an upgraded room the tombstone names the new room, which names the old one as its predecessor."""
    alice, carol, room = await two_in_a_room(person)

    replacement = await alice.upgrade(room, "11")

    assert await must.see(carol, checks.upgraded(room)) == replacement
    create = await alice.state(replacement, "m.room.create")
    assert create["predecessor"]["room_id"] == room


async def test_a_space_is_read_with_all_below_it(person):
    """A Space is read with its nested Spaces and rooms by name, without entries that were taken out again."""
    alice = await person("alice")
    top = await alice.create_room(name="Top", space=True)
    inner = await alice.create_room(name="Inner", space=True)
    chat = await alice.create_room(name="Chat")
    gone = await alice.create_room(name="Gone")
    for space, room in ((top, inner), (inner, chat), (top, gone)):
        await alice.set_state(space, "m.space.child", {"via": ["greenroom.test"]}, room)
    await alice.set_state(top, "m.space.child", {}, gone)

    tree = await alice.space_tree(top)

    assert str(tree) == "Top/\n  Inner/\n    Chat"
    assert [room.room_id for room in tree.rooms()] == [inner, chat]
    await must.see(alice, checks.child(inner, chat) & checks.child(top, gone, listed=False))


async def test_what_the_homeserver_refuses_is_told_with_the_request_and_its_words(person):
    """Every act that the homeserver refuses raises MatrixRefused with the request, the status and the error code."""
    alice, carol = await person("alice"), await person("carol")
    room = await alice.create_room()
    said = await alice.send_text(room, "mine")

    refusals = {}
    for name, act in {
        "join": carol.join(room),
        "send_text": carol.send_text(room, "hello"),
        "react": carol.react(room, said, "👍"),
        "redact": carol.redact(room, said),
        "kick": alice.kick(room, carol.user_id),
        "upgrade": carol.upgrade(room),
        "space_tree": carol.space_tree(room),
        "rename": carol.rename(room, "Hers"),
        "ban": carol.ban(room, alice.user_id),
    }.items():
        try:
            refusals[name] = f"allowed: {await act}"
        except MatrixRefused as error:
            refusals[name] = f"{error.status} {error.errcode}"
            last = str(error)

    assert refusals == dict.fromkeys(refusals, "403 M_FORBIDDEN")
    assert last.startswith("RoomBan was refused: 403 M_FORBIDDEN ")


# -- must


async def test_must_answer_gives_the_answer(scene):
    """`must.answer` accepts any answer, an exact one, or one that contains something, and returns it."""
    alice, echo, room = scene

    exact = await must.answer(alice, echo, room, "!echo one", "one")
    part = await must.answer(alice, echo, room, "!echo two three", containing="thr")
    some = await must.answer(alice, echo, room, "!echo four")

    assert [exact.body, part.body, some.body] == ["one", "two three", "four"]
    await must.see(alice, checks.messages("one", "two three", "four", sender=echo.user_id, room=room))


async def test_must_answer_says_what_was_asked_and_what_was_seen_instead(scene, monkeypatch):
    """When the answer does not come, `must.answer` names the person, the wanted text, and what was said instead."""
    alice, echo, room = scene
    say = alice.send_text

    async def say_and_hear(room_id: str, text: str) -> str:
        event_id = await say(room_id, text)
        await alice.until(checks.message("ping", sender=echo.user_id, room=room_id, after=event_id))
        return event_id

    monkeypatch.setattr(alice, "send_text", say_and_hear)  # the wrong answer is there before the short limit begins
    with pytest.raises(NotMet) as caught:
        await must.answer(alice, echo, room, "!echo ping", "pong", timeout_s=0.2)

    lines = untimed(caught.value).splitlines()
    name = alice.account.localpart
    assert lines[0] == f"waited … s for {name} to see {echo.user_id} to say 'pong' in {room}; it did not happen"
    assert lines[1] == "  seen instead:"
    assert lines[-2].endswith(f"messages there: {echo.user_id}: 'ping'")
    assert lines[-1] == f"  {echo.user_id} has logged nothing"


async def test_must_say_waits_for_a_message_that_nobody_asked_for(scene):
    """`must.say` returns a message of the bot, asked for or not; with `after` it ignores earlier messages."""
    alice, echo, room = scene
    await must.answer(alice, echo, room, "!echo two")
    answer = await must.answer(alice, echo, room, "!echo one")

    assert await must.say(alice, echo, room, "one") == answer
    assert await must.say(alice, echo, room, containing="ne") == answer
    with pytest.raises(NotMet, match=rf"{re.escape(echo.user_id)} to say anything in .*\n.*\n.*no message there"):
        await must.say(alice, echo, room, after=answer.event_id, timeout_s=0.2)


async def test_must_tells_the_death_of_the_bot_at_once(scene):
    """When the bot is dead, `must` raises Died at once, with the signal or exit code that ended the bot."""
    alice, echo, room = scene
    await echo.kill()

    began = time.monotonic()
    with pytest.raises(Died, match=r"^bot died: stopped on request \(signal SIGKILL\)"):
        await must.answer(alice, echo, room, "!echo ping", timeout_s=600)
    assert time.monotonic() - began < 60
    with pytest.raises(Died, match=r"^bot died"):
        must.be_running(echo)


async def test_must_join_says_what_the_membership_is(scene):
    """When the bot does not join, `must.join` tells what the bot's membership is."""
    alice, echo, _ = scene
    stranger_room = await alice.create_room()

    with pytest.raises(NotMet, match=rf"membership of {re.escape(echo.user_id)} is None"):
        await must.join(alice, echo, stranger_room, timeout_s=0.2)


async def test_must_leave_sees_a_declined_invite(scene, person):
    """`must.leave` accepts a declined invite; where the bot stays, it tells the bot's membership."""
    alice, echo, room = scene
    dave = await person("dave")
    declined = await dave.create_direct(echo.user_id)

    await must.leave(dave, echo, declined)
    with pytest.raises(NotMet, match=rf"membership of {re.escape(echo.user_id)} is join"):
        await must.leave(alice, echo, room, timeout_s=0.2)


async def test_must_log_gives_the_line_or_the_bots_last_words(bot):
    """`must.log` returns a line even if the bot ended with it; for other lines it raises Died with the last ones."""
    echo = await bot(ends_on_cue("print('one'); print('two')"), ready=lambda bot: None)
    give_cue(echo)

    assert await must.log(echo, "tw") == "two"
    with pytest.raises(Died, match=r"ended with exit code 0\n  last log lines:\n    one\n    two\n  full log: "):
        await must.log(echo, "three")


async def test_must_end_by_itself_tells_the_exit_code(scene, bot):
    """`must.end_by_itself` fails for a bot that goes on, and for one that ends with another exit code."""
    _, echo, _ = scene
    ends = await bot(ends_on_cue("print('bye'); raise SystemExit(3)"), ready=lambda bot: None)
    give_cue(ends)

    assert await must.end_by_itself(ends, code=3) == 3
    with pytest.raises(NotMet) as wrong:
        await must.end_by_itself(ends, code=4)
    with pytest.raises(NotMet) as still:
        await must.end_by_itself(echo, timeout_s=0.1)

    assert untimed(wrong.value).splitlines() == [
        "waited … s for the bot to end by itself with exit code 4; it did not happen",
        "  seen instead:",
        "      … s  it ended with 3",
        f"  last log lines of {ends.user_id}:",
        "    bye",
        f"  full log: {ends.log_path}",
    ]
    assert "waited … s for the bot to end by itself; it did not happen" in untimed(still.value)
    assert "it is still running" in str(still.value)


# -- never


async def test_never_answer_holds_when_only_the_sentinel_is_answered(scene):
    """`never.answer` passes when the bot answers the later question and not the earlier sentence."""
    alice, echo, room = scene

    await never.answer(alice, echo, room, "hello", sentinel=never.answered(alice, echo, room, "!echo end"))


async def test_never_answer_names_the_answer_that_came(scene):
    """`never.answer` fails with the sender and the text of an answer that came."""
    alice, echo, room = scene

    with pytest.raises(Happened) as caught:
        await never.answer(
            alice, echo, room, "!echo oops", sentinel=never.answered(alice, echo, room, "!echo end", "end")
        )

    name = alice.account.localpart
    assert str(caught.value).splitlines()[:2] == [
        f"{name} saw {echo.user_id} answer '!echo oops'; that must never happen",
        f"  seen: {echo.user_id}: 'oops'",
    ]


@pytest.mark.not_behind("news-at-the-end", because="the bot receives the question after the sentinel's time")
async def test_without_its_sentinel_there_is_no_verdict(scene):
    """When the sentinel does not come, `never.answer` raises CannotTell: nothing has proved the absence."""
    alice, echo, room = scene
    sentinel = never.answered(alice, echo, room, "nobody answers this", timeout_s=0.3)

    with pytest.raises(CannotTell) as caught:
        await never.answer(alice, echo, room, "hello", sentinel=sentinel)

    first, second, *_ = untimed(caught.value).splitlines()
    assert first.startswith(
        f"inconclusive: the sentinel never came, so {alice.account.localpart} may still see "
        f"{echo.user_id} answer 'hello': the bot received the question at "
    )
    assert second.startswith(f"  waited … s for {alice.account.localpart} to see ")


async def test_a_bot_that_answers_nothing_is_judged_by_its_syncs(scene, faults):
    """`never.synced` judges a bot that answers nothing: a bot that syncs again has handled what was said before."""
    alice, echo, room = scene

    await never.answer(alice, echo, room, "hello", sentinel=never.synced(alice, echo, room, faults))
    with pytest.raises(Happened, match="answer '!echo oops'"):
        await never.answer(alice, echo, room, "!echo oops", sentinel=never.synced(alice, echo, room, faults))


async def test_a_stopped_bot_gives_no_verdict_by_its_syncs(scene, faults):
    """`never.synced` raises CannotTell when the bot is frozen, because the bot has handled nothing."""
    alice, echo, room = scene
    echo.pause()

    with pytest.raises(CannotTell, match="the bot to fetch a later event and then sync again"):
        await never.answer(alice, echo, room, "hello", sentinel=never.synced(alice, echo, room, faults, timeout_s=0.5))
    echo.resume()
