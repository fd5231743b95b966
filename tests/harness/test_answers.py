"""Which events of a bot are answers: a message with all its edits is one, and so is a reaction."""

from __future__ import annotations

import pytest

from greenroom.people.answers import Kind, answers, described
from greenroom.people.person import edit_content, reaction_content, reply_content
from greenroom.people.plain import plain_text, without_quote
from greenroom.people.seen import SeenEvent

ROOM, BOT, ALICE = "!room", "@bot:hs1", "@alice:hs1"


def event(event_id: str, kind: str = "m.room.message", *, sender: str = BOT, room: str = ROOM, **content) -> SeenEvent:
    """Return a timeline event."""
    return SeenEvent(room, event_id, kind, sender, content, None, encrypted=False)


def said(event_id: str, body: str = "hello", **more) -> SeenEvent:
    """Return a message."""
    return event(event_id, msgtype=more.pop("msgtype", "m.text"), body=body, **more)


def in_thread(root: str, **relation) -> dict:
    """Return the relation to a thread."""
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root, **relation}}


QUESTION = said("$q", "!ping", sender=ALICE)
QUOTE = "> <@alice:hs1> !ping\n> second line\n\n"
FALLBACK = {"is_falling_back": True, "m.in_reply_to": {"event_id": "$q"}}


@pytest.mark.parametrize(
    ("event", "kind", "text", "about"),
    [
        (said("$1"), "text", "hello", None),
        (said("$1", msgtype="m.notice"), "notice", "hello", None),
        (said("$1", msgtype="m.emote"), "emote", "hello", None),
        (event("$1", msgtype="m.text", formatted_body="<p>a &amp; <b>b</b></p>"), "formatted only", "a & b", None),
        (event("$1", msgtype="m.text", body=" ", formatted_body="<i>hello</i>"), "formatted only", "hello", None),
        (said("$1", "cat.png", msgtype="m.image"), "media", "cat.png", None),
        (event("$1", "m.sticker", body="a cat"), "media", "a cat", None),
        (event("$1", **reply_content("$q", "hello")), "reply", "hello", "$q"),
        (event("$1", **reply_content("$q", f"{QUOTE}hello")), "reply", "hello", "$q"),
        (said("$1", **in_thread("$q")), "thread", "hello", "$q"),
        (said("$1", **in_thread("$q", **FALLBACK)), "thread", "hello", "$q"),
        (event("$1", "m.reaction", **reaction_content("$q", "👍")), "reaction", "👍", "$q"),
    ],
)
def test_each_way_to_answer_is_an_answer(event, kind, text, about):
    """An answer has its kind, the text that a reader sees, and the event that it answers if it says so."""
    (answer,) = answers([QUESTION, event], sender=BOT, room=ROOM, after="$q")

    assert (answer.kind, answer.text, answer.about, answer.event_id) == (kind, text, about, "$1")


@pytest.mark.parametrize(
    "other",
    [
        said("$1", sender=ALICE),
        said("$1", room="!other"),
        event("$1", "m.room.topic", topic="hello"),
        event("$1"),
        event("$1", **edit_content("$before", "hello")),
        event("$1", "m.room.redaction", redacts="$q"),
    ],
    ids=["of another", "in another room", "state", "redacted", "edit of an older message", "redaction"],
)
def test_everything_else_is_no_answer(other):
    """Another sender, another room, an event without text, an edit of a message from before the question."""
    assert answers([said("$before"), QUESTION, other], sender=BOT, room=ROOM, after="$q") == []


def test_a_message_with_its_edits_is_one_answer_with_the_last_text():
    """A placeholder and its edits are one answer, in the place of the placeholder."""
    events = [
        QUESTION,
        said("$1", "thinking…"),
        event("$2", **edit_content("$1", "hel")),
        said("$3", "another"),
        event("$4", **edit_content("$1", "hello")),
    ]

    first, second = answers(events, sender=BOT)

    assert (first.kind, first.text, first.first_text, first.edits) == (Kind.EDIT, "hello", "thinking…", 2)
    assert (first.event_id, first.at_index, second.text) == ("$1", 1, "another")
    assert [answer.text for answer in answers(events[:2], sender=BOT)] == ["thinking…"]


@pytest.mark.parametrize(
    "edit",
    [
        event("$2", sender=ALICE, **edit_content("$1", "forged")),
        event("$2", body="* forged", msgtype="m.text", **{"m.relates_to": {"rel_type": "m.replace", "event_id": "$1"}}),
        event("$2", **edit_content("$0", "an edit of an edit")),
    ],
    ids=["of another sender", "without m.new_content", "of an edit"],
)
def test_an_edit_that_clients_ignore_changes_nothing(edit):
    """An edit counts if it is by the same sender, has `m.new_content`, and names the first message."""
    events = [QUESTION, said("$1"), event("$0", **edit_content("$1", "hello")), edit]

    assert [(answer.text, answer.edits) for answer in answers(events, sender=BOT)] == [("hello", 1)]


def test_an_edit_with_only_html_has_its_text():
    """The text of `m.new_content` is read as that of a message."""
    relation = {"rel_type": "m.replace", "event_id": "$1"}
    new = {"msgtype": "m.text", "formatted_body": "<b>hello</b>"}
    edit = event("$2", msgtype="m.text", body="*", **{"m.new_content": new, "m.relates_to": relation})

    assert [answer.text for answer in answers([said("$1", "…"), edit], sender=BOT)] == ["hello"]


def test_what_the_bot_took_back_is_no_answer():
    """A bot may redact its placeholder. A redaction by somebody else does not undo that the bot answered."""
    events = [said("$1", "thinking…"), event("$2", "m.room.redaction", redacts="$1"), said("$3")]
    by_alice = event("$4", "m.room.redaction", sender=ALICE, redacts="$3")

    assert [answer.event_id for answer in answers([*events, by_alice], sender=BOT)] == ["$3"]


def test_without_a_room_all_rooms_count():
    """The answer names its room."""
    assert [a.room_id for a in answers([QUESTION, said("$1", room="!other")], sender=BOT)] == ["!other"]


def test_after_an_unknown_event_there_is_no_answer():
    """The person has not seen the question arrive yet."""
    assert answers([said("$1")], sender=BOT, after="$unseen") == []


def test_a_reply_to_its_own_placeholder_is_about_the_question():
    """The bot replies to the question with a placeholder, and to the placeholder with the answer."""
    events = [QUESTION, event("$1", **reply_content("$q", "…")), event("$2", **reply_content("$1", "hello"))]

    assert [answer.about for answer in answers(events, sender=BOT)] == ["$q", "$q"]


def test_in_a_thread_with_two_askers_the_root_does_not_tell_the_question():
    """The root of the thread is the first question, also for the answer to the second. A real reply tells which."""
    second = said("$q2", "!ping", sender=ALICE, **in_thread("$q"))
    unclear = said("$1", **in_thread("$q", **FALLBACK))
    clear = said("$2", **in_thread("$q", **{"m.in_reply_to": {"event_id": "$q2"}}))

    found = answers([QUESTION, second, unclear, clear], sender=BOT)

    assert [(answer.about, answer.thread) for answer in found] == [(None, "$q"), ("$q2", "$q")]


def test_an_answer_is_described_for_a_person():
    """What came instead: the sender, another room, a reaction, the edits."""
    events = [
        said("$1", "x" * 70, room="!other"),
        event("$2", "m.reaction", **reaction_content("$q", "👍")),
        said("$3", "thinking…"),
        event("$4", **edit_content("$3", "hello")),
        event("$5", msgtype="m.text", formatted_body="<b>hello</b>"),
        said("$6", "cat.png", msgtype="m.image"),
        said("$7", "…"),
        event("$8", **edit_content("$7", "h")),
        event("$9", **edit_content("$7", "hi")),
    ]

    assert list(described(answers(events, sender=BOT), ROOM)) == [
        f"{BOT}: in another room !other: '{'x' * 60}…'",
        f"{BOT}: a reaction 👍",
        f"{BOT}: 'thinking…', edited to 'hello'",
        f"{BOT}: 'hello' (only as formatted_body)",
        f"{BOT}: 'cat.png' (m.image)",
        f"{BOT}: '…', edited 2 times, at last to 'hi'",
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<mx-reply><blockquote>quoted</blockquote></mx-reply>hello", "hello"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("a &lt;b&gt; &#33;", "a <b> !"),
        ("1 < 2 and <b>bold", "1 < 2 and bold"),
    ],
)
def test_html_becomes_plain_text(html, text):
    """Tags go, entities are read, blocks end a line, and the quotation of a reply goes too."""
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("> <@alice:hs1> hi\n\nhello", "hello"),
        ("> * <@alice:hs1> waves\n\nhello", "hello"),
        ("> <@alice:hs1> hi\n> more\nhello", "hello"),
        ("> a citation\n\nhello", "> a citation\n\nhello"),
        ("hello", "hello"),
    ],
)
def test_only_the_quotation_of_the_reply_goes(body, text):
    """A fallback begins with the sender of the message that it quotes; a citation by the bot itself does not."""
    assert without_quote(body) == text
