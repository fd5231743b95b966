"""What people can do and see, and what `must` and `never` say when it does not come true."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from greenroom import checks, must, never
from greenroom.bot_process import first_sync
from greenroom.errors import CannotTell, Died, Happened, MatrixRefused, NotMet
from greenroom.people.person import Person
from tests.e2e.least_bots import ends_on_cue, give_cue

GOOD_BOT = [sys.executable, str(Path(__file__).parents[1] / "gallery" / "good.py")]


async def two_in_a_room(person, **room) -> tuple[Person, Person, str]:
    """Alice's direct chat with Carol, both in it."""
    alice, carol = await person("alice", **_who(room)), await person("carol", **_who(room))
    room_id = await alice.create_direct(carol.user_id, **room)
    await carol.until(checks.invited(by=alice.user_id))
    await carol.join(room_id)
    await alice.until(checks.joined(carol.user_id, room_id))
    return alice, carol, room_id


def untimed(error: Exception) -> str:
    """The message without its measured seconds, which are the machine's."""
    return re.sub(r"\d+\.\d+ s\b", "… s", str(error))


def _who(room) -> dict:
    return {"encrypted": True} if room.get("encrypted") else {}


@pytest.fixture
async def scene(person, bot, faults):
    """Alice, the gallery's good bot behind a proxy, and a direct chat of both."""
    alice = await person("alice")
    echo = await bot(GOOD_BOT, env={"BOT_OWNER": alice.user_id}, through=faults, ready=first_sync(faults))
    return alice, echo, await must.chat(alice, echo)


# -- acting and seeing


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_replies_edits_reactions_and_redactions_arrive_as_such(person, encrypted):
    """Each has its own check, in plain and in encrypted rooms."""
    alice, carol, room = await two_in_a_room(person, encrypted=encrypted)
    said = await alice.send_text(room, "helo")
    await carol.until(checks.message("helo", room=room))

    reply = await carol.reply(room, said, "hello!")
    edit = await alice.edit(room, said, "hello")
    reaction = await carol.react(room, said, "👍")
    seen = await alice.until(checks.reply_to(said, sender=carol.user_id, text="hello!"))
    assert (seen.event_id, seen.encrypted) == (reply, encrypted)
    assert (await alice.until(checks.edit_of(said, text="hello"))).event_id == edit
    assert (await alice.until(checks.reaction(said, "👍", sender=carol.user_id))).event_id == reaction
    gone = await carol.redact(room, reply)
    assert (await alice.until(checks.redaction(reply))).event_id == gone


async def test_a_ban_keeps_out_until_it_is_lifted(person):
    """A banned person cannot come back; after the unban and an invite they can."""
    alice, carol = await person("alice"), await person("carol")
    room = await alice.create_room(invite=[carol.user_id])  # in a direct chat both would have every power
    await carol.join(room)

    await alice.ban(room, carol.user_id, "noise")
    await carol.until(checks.membership(carol.user_id, room, "ban"))
    with pytest.raises(MatrixRefused, match="banned"):
        await carol.join(room)
    await alice.unban(room, carol.user_id)
    await alice.invite(room, carol.user_id)
    await carol.join(room)

    assert await alice.members(room) == {alice.user_id, carol.user_id}


async def test_an_upgraded_room_says_where_it_went(person):
    """The tombstone names the new room, and the new room its predecessor."""
    alice, carol, room = await two_in_a_room(person)

    replacement = await alice.upgrade(room, "11")

    assert await carol.until(checks.upgraded(room)) == replacement
    create = await alice.state(replacement, "m.room.create")
    assert create["predecessor"]["room_id"] == room


async def test_a_space_is_read_with_all_below_it(person):
    """Nested Spaces, names, and an entry that was taken out again."""
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
    await alice.until(checks.child(inner, chat) & checks.child(top, gone, listed=False))


async def test_what_the_homeserver_refuses_is_told_with_the_request_and_its_words(person):
    """Every act of a person raises MatrixRefused; nothing is swallowed."""
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
        except MatrixRefused as refused:
            refusals[name] = f"{refused.status} {refused.errcode}"
            last = str(refused)

    assert refusals == dict.fromkeys(refusals, "403 M_FORBIDDEN")
    assert last.startswith("RoomBan was refused: 403 M_FORBIDDEN ")


# -- must


async def test_must_answer_gives_the_answer(scene):
    """Any answer, an exact one, one that contains something."""
    alice, echo, room = scene

    assert (await must.answer(alice, echo, room, "!echo one", "one")).body == "one"
    assert (await must.answer(alice, echo, room, "!echo two three", containing="thr")).body == "two three"
    await must.see(alice, checks.messages("one", "two three", sender=echo.user_id, room=room))


async def test_must_answer_says_what_was_asked_and_what_was_seen_instead(scene, monkeypatch):
    """The person, the wanted text, the messages there, the bot's last lines and where its log is."""
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


async def test_must_tells_the_death_of_the_bot_at_once_with_its_last_words(scene):
    """No waiting for a bot that is gone."""
    alice, echo, room = scene
    await echo.kill()

    with pytest.raises(Died, match=r"^bot died: stopped on request \(signal SIGKILL\)"):
        await must.answer(alice, echo, room, "!echo ping", timeout_s=30)
    with pytest.raises(Died, match=r"^bot died"):
        must.be_running(echo)


async def test_must_join_says_what_the_membership_is(scene):
    """An invite that was not accepted."""
    alice, echo, _ = scene
    stranger_room = await alice.create_room()

    with pytest.raises(NotMet, match=rf"membership of {re.escape(echo.user_id)} is None"):
        await must.join(alice, echo, stranger_room, timeout_s=0.2)


async def test_must_leave_sees_a_declined_invite(scene, person):
    """The bot leaves where it is not wanted; where it stays, the message says so."""
    alice, echo, room = scene
    dave = await person("dave")
    declined = await dave.create_direct(echo.user_id)

    await must.leave(dave, echo, declined)
    with pytest.raises(NotMet, match=rf"membership of {re.escape(echo.user_id)} is join"):
        await must.leave(alice, echo, room, timeout_s=0.2)


async def test_must_log_gives_the_line_or_counts_what_was_logged(bot, faults):
    """Also when the line is the bot's last."""
    echo = await bot(ends_on_cue("print('one'); print('two')"), ready=lambda bot: None)
    give_cue(echo)

    assert await must.log(echo, "tw") == "two"
    with pytest.raises(Died, match="ended with exit code 0"):
        await must.log(echo, "three")


async def test_must_end_by_itself_tells_the_exit_code(scene, bot):
    """A bot that goes on, and one that ends with another code."""
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
    """The later question is answered, the earlier sentence is not."""
    alice, echo, room = scene

    await never.answer(alice, echo, room, "hello", sentinel=never.answered(alice, echo, room, "!echo end"))


async def test_never_answer_names_the_answer_that_came(scene):
    """With its text and its event's sender."""
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


async def test_without_its_sentinel_there_is_no_verdict(scene):
    """An absence that nothing proves is no pass."""
    alice, echo, room = scene
    sentinel = never.answered(alice, echo, room, "nobody answers this", timeout_s=0.3)

    with pytest.raises(CannotTell) as caught:
        await never.answer(alice, echo, room, "hello", sentinel=sentinel)

    assert untimed(caught.value).startswith(
        f"inconclusive: the sentinel never came, so {alice.account.localpart} may still see "
        f"{echo.user_id} answer 'hello': waited … s"
    )


async def test_a_bot_that_answers_nothing_is_judged_by_its_syncs(scene, faults):
    """It came back for more, so it has been through what was said; if it had answered, that is seen."""
    alice, echo, room = scene

    await never.answer(alice, echo, room, "hello", sentinel=never.synced(alice, echo, room, faults))
    with pytest.raises(Happened, match="answer '!echo oops'"):
        await never.answer(alice, echo, room, "!echo oops", sentinel=never.synced(alice, echo, room, faults))


async def test_a_stopped_bot_gives_no_verdict_by_its_syncs(scene, faults):
    """A bot that is not there has not been through anything."""
    alice, echo, room = scene
    echo.pause()

    with pytest.raises(CannotTell, match="the bot to fetch a later event and then sync again"):
        await never.answer(alice, echo, room, "hello", sentinel=never.synced(alice, echo, room, faults, timeout_s=0.5))
    echo.resume()
