"""`must.answer` with bots that answer in each way, are asked in each way, or say too much."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from greenroom import checks, must, never
from greenroom.errors import Happened, Misuse, NotMet

GALLERY = Path(__file__).parents[1] / "gallery"
ECHO_BOT = Path(__file__).parents[1] / "examples" / "nio" / "echo_bot.py"


async def chat_with(name, person, bot):
    """Start a bot of the gallery. Return Alice, the bot, and a direct chat of both."""
    alice = await person("alice")
    echo = await bot([sys.executable, str(GALLERY / f"{name}.py")], env={"BOT_OWNER": alice.user_id})
    return alice, echo, await must.chat(alice, echo)


# -- ways to answer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("good", "notice"),
        ("answers_by_edit", "edit"),
        ("answers_in_threads", "thread"),
        ("answers_by_reaction", "reaction"),
    ],
)
async def test_each_way_to_answer_is_seen_as_one_answer(name, kind, person, bot):
    """The answer has the text that a reader sees at the end, and the kind says how it came."""
    alice, echo, room = await chat_with(name, person, bot)

    exact = await must.answer(alice, echo, room, "!echo hello there", "hello there")
    part = await must.answer(alice, echo, room, "!echo hello you", containing="you")
    some = await must.answer(alice, echo, room, "!echo whatever")

    assert [(a.kind, a.body) for a in (exact, part, some)] == [
        (kind, "hello there"),
        (kind, "hello you"),
        (kind, "whatever"),
    ]
    assert exact.about in (None, exact.event.replies_to, exact.event.reacts_to)
    assert len([a for a in (exact, part, some) if a.room_id == room]) == 3
    await never.answer(alice, echo, room, "hello", sentinel=never.answered(alice, echo, room, "!echo end", "end"))


async def test_a_text_that_is_edited_away_is_no_answer(person, bot):
    """Half of the text was there for a moment. What counts is the text at the end, and the error shows the edits."""
    alice, echo, room = await chat_with("answers_by_edit", person, bot)

    with pytest.raises(NotMet, match=re.escape("'thinking…', edited 3 times, at last to 'hello there'")):
        await must.answer(alice, echo, room, "!echo hello there", "hello", timeout_s=2)


async def test_an_answer_in_another_room_is_named_and_counts_if_any_room_does(person, bot):
    """By default the answer must come in the room of the question; the error says that it came elsewhere."""
    alice, echo, first = await chat_with("answers_in_the_wrong_room", person, bot)
    second = await must.chat(alice, echo)

    with pytest.raises(NotMet, match=rf"in another room {re.escape(first)}: 'one'"):
        await must.answer(alice, echo, second, "!echo one", timeout_s=2)
    elsewhere = await must.answer(alice, echo, second, "!echo two", "two", anywhere=True)
    assert elsewhere.room_id == first


async def test_a_reaction_with_another_key_is_named(person, bot):
    """The error says that a reaction came, and which."""
    alice, echo, room = await chat_with("answers_by_reaction", person, bot)

    with pytest.raises(NotMet, match="a reaction 👎"):
        await must.answer(alice, echo, room, "!echo 👎", "👍", timeout_s=1)


# -- ways to ask


async def test_a_bot_that_wants_to_be_mentioned_answers_a_mention_in_a_group(person, bot):
    """In a group room the bot leaves other messages alone; a mention and a reply to it are for the bot."""
    alice, echo, direct = await chat_with("answers_mentions", person, bot)
    carol = await person("carol")
    group = await must.group(alice, echo, carol, name="Everybody")

    mentioned = never.answered(alice, echo, group, "!echo later", "later", way="mention")
    await never.answer(alice, echo, group, "!echo nobody", sentinel=mentioned)
    await must.answer(alice, echo, group, "!echo again", "again", way="reply")
    assert {alice.user_id, echo.user_id, carol.user_id} == await alice.members(group)
    with pytest.raises(Misuse, match="to ask as a reply, name an earlier event"):
        await must.answer(alice, echo, direct, "!echo one", way="reply")


async def test_a_question_in_a_thread_is_answered_in_that_thread(person, bot):
    """`way="thread"` stays in the thread of the bot's latest message; `to` names another one."""
    alice, echo, room = await chat_with("answers_in_threads", person, bot)
    first = await must.answer(alice, echo, room, "!echo one", "one")

    second = await must.answer(alice, echo, room, "!echo two", "two", way="thread")
    root = await alice.send_text(room, "a thread of my own")
    third = await must.answer(alice, echo, room, "!echo three", "three", way="thread", to=root)

    assert first.about == first.thread
    assert second.thread == first.thread
    assert third.thread == root


# -- never twice, never for ever


async def test_a_bot_that_talks_to_itself_is_noticed(person, bot):
    """A bot that answers its own messages goes on talking, however soon the wanted answer came."""
    alice, echo, room = await chat_with("talks_to_itself", person, bot)

    with pytest.raises(Happened, match=r"goes on talking: \d+ messages since '!echo hello', the latest 'hello'"):
        await must.answer(alice, echo, room, "!echo hello", "hello")


OTHERS_ONLY = "if event.sender != client.user_id:"
SYNCS = "sync_forever(timeout=30000)"
TEN_LINES = "await client.room_send("
IN_BACKGROUND = "asyncio.ensure_future(client.room_send("


ten_lines_suffice = pytest.mark.not_behind(
    "join-needs-a-body", "told-twice", because="matrix-nio's join() has no body, and ten lines know no event ids"
)


async def variant_of_the_ten_lines(tmp_path, person, bot, *changes, **started):
    """Start the echo bot of the guide with changes. Return Alice, the bot, and a direct chat of both."""
    source = ECHO_BOT.read_text()
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    (tmp_path / "echo_bot.py").write_text(source)
    alice, echo = await person("alice"), await bot([sys.executable, str(tmp_path / "echo_bot.py")], **started)
    return alice, echo, await must.chat(alice, echo)


@pytest.mark.parametrize(
    "changes",
    [
        [(OTHERS_ONLY, "if True:")],
        [(OTHERS_ONLY, "if True:"), (TEN_LINES, IN_BACKGROUND), ("event.body})", "event.body}))")],
        [(OTHERS_ONLY, "if True:"), ('"body": event.body', '"body": "You said: " + event.body')],
    ],
    ids=["in the handler", "in the background", "ever longer"],
)
@ten_lines_suffice
async def test_the_ten_line_test_notices_an_echo_of_itself(tmp_path, person, bot, changes):
    """The echo bot of the guide without the line that leaves its own messages alone."""
    alice, echo, room = await variant_of_the_ten_lines(tmp_path, person, bot, *changes)

    with pytest.raises(Happened, match=r"goes on talking: \d+ messages since 'hello', the latest '"):
        await must.answer(alice, echo, room, "hello", containing="hello")


@ten_lines_suffice
async def test_a_bot_whose_filter_leaves_its_own_messages_out_is_not_accused(tmp_path, person, bot):
    """It cannot answer itself. The first question takes a second more, the later ones do not."""
    quiet = 'sync_filter={"room": {"timeline": {"not_senders": [client.user_id]}}}'
    alice, echo, room = await variant_of_the_ten_lines(
        tmp_path, person, bot, (SYNCS, f"sync_forever(timeout=30000, {quiet})")
    )

    began = time.monotonic()
    await must.answer(alice, echo, room, "one", "one")
    first_s = time.monotonic() - began
    assert not echo.hears_itself
    began = time.monotonic()
    for number in range(5):
        await must.answer(alice, echo, room, f"{number}", f"{number}")
    assert (time.monotonic() - began) / 5 < first_s


@ten_lines_suffice
async def test_a_bot_whose_filter_leaves_the_sentinel_out_is_judged_by_its_syncs(tmp_path, person, bot, faults):
    """`never.synced` sends an event that such a bot never receives. Three more syncs show as much."""
    only = 'sync_filter={"room": {"timeline": {"types": ["m.room.message"]}}}'
    alice, echo, room = await variant_of_the_ten_lines(
        tmp_path, person, bot, (SYNCS, f"sync_forever(timeout=300, {only})"), through=faults
    )

    synced = never.synced(alice, echo, room, faults)
    with pytest.raises(Happened, match="answer 'hello'"):
        await never.answer(alice, echo, room, "hello", sentinel=synced)


@ten_lines_suffice
async def test_an_answer_of_many_messages_is_not_too_much(tmp_path, person, bot):
    """Thirty different lines, one message each, and then the bot rests."""
    lines = "for n in range(30):\n                await client.room_send("
    alice, echo, room = await variant_of_the_ten_lines(
        tmp_path, person, bot, (TEN_LINES, lines), ('"body": event.body', '"body": f"line {n}"')
    )

    await must.answer(alice, echo, room, "help", "line 0")
    await must.answer(alice, echo, room, "help", "line 29")


async def test_a_bot_that_answers_twice_is_noticed(person, bot):
    """The same text twice about one question is too much."""
    alice, echo, room = await chat_with("says_everything_twice", person, bot)

    with pytest.raises(Happened, match=r"answered '!echo hello' twice with 'hello'; that must never happen"):
        await must.answer(alice, echo, room, "!echo hello", "hello")


async def test_a_good_bot_is_not_waited_for_long(person, bot):
    """To see that the bot rests takes about 0.1 s."""
    alice, echo, room = await chat_with("good", person, bot)
    await must.answer(alice, echo, room, "!echo warm", "warm")

    began = time.monotonic()
    for number in range(10):
        sent = await alice.send_text(room, f"!echo plain {number}")
        await must.say(alice, echo, room, f"plain {number}", after=sent)
    plain_s = time.monotonic() - began
    began = time.monotonic()
    for number in range(10):
        await must.answer(alice, echo, room, f"!echo {number}", f"{number}")
    rest_s = (time.monotonic() - began - plain_s) / 10

    print(f"at rest after {rest_s:.3f} s, beyond {plain_s / 10:.3f} s for the answer")
    assert rest_s < 0.5


async def test_two_people_who_ask_the_same_do_not_make_it_an_answer_too_many(person, bot):
    """Two questions have two answers, also if both come after the second question."""
    alice, echo, room = await chat_with("good", person, bot)

    for _ in range(3):
        await alice.send_text(room, "!echo same")
        await must.answer(alice, echo, room, "!echo same", "same")

    await must.see(alice, checks.messages(*["same"] * 6, sender=echo.user_id, room=room))


async def test_a_bot_that_blocks_is_told_as_one_that_says_nothing(person, bot):
    """The wait ends with its own error, and the bot is no obstacle for the end of the test."""
    alice, echo, room = await chat_with("blocks", person, bot)

    with pytest.raises(NotMet, match="no message there"):
        await must.answer(alice, echo, room, "!echo hello", timeout_s=1)
    await echo.kill()
