"""The content of a question in each way to ask."""

from __future__ import annotations

import pytest

from greenroom.errors import Misuse
from greenroom.people.asking import Way, ask_content

BOT = "@bot:hs1"


def test_a_plain_question_is_only_its_text():
    """A command prefix is a part of the text."""
    assert ask_content("!ping") == {"msgtype": "m.text", "body": "!ping"}


def test_a_mention_names_the_bot_in_three_places():
    """In `m.mentions`, in a pill with a link, and in the body for bots that read only that."""
    assert ask_content("1 < 2", "mention", BOT, "Echo & Co") == {
        "msgtype": "m.text",
        "body": "Echo & Co: 1 < 2",
        "format": "org.matrix.custom.html",
        "formatted_body": f'<a href="https://matrix.to/#/{BOT}">Echo &amp; Co</a>: 1 &lt; 2',
        "m.mentions": {"user_ids": [BOT]},
    }


def test_without_a_name_a_mention_has_the_user_id():
    """A bot need not have a display name."""
    assert ask_content("hi", "mention", BOT)["body"] == f"{BOT}: hi"


def test_a_reply_names_the_message_and_mentions_its_sender():
    """As clients do since version 1.7 of the specification."""
    assert ask_content("hi", "reply", BOT, event_id="$1") == {
        "msgtype": "m.text",
        "body": "hi",
        "m.mentions": {"user_ids": [BOT]},
        "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}},
    }


def test_a_thread_has_the_fallback_for_clients_without_threads():
    """`is_falling_back` says that the reply is none."""
    assert ask_content("hi", "thread", event_id="$1")["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$1",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$1"},
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("hi", "shout"), "no way to ask is called 'shout'; there are plain, mention, reply, thread"),
        (("hi", "mention"), "to ask as a mention, name the bot"),
        (("hi", "reply", BOT), "to ask as a reply, name an earlier event (`to=`), or let the bot say something first"),
        (
            ("hi", "thread", BOT),
            "to ask as a thread, name an earlier event (`to=`), or let the bot say something first",
        ),
    ],
)
def test_what_is_missing_is_told_in_one_line(arguments, problem):
    """Misuse names what to add."""
    with pytest.raises(Misuse) as caught:
        ask_content(*arguments)

    assert str(caught.value) == problem


def test_every_way_is_tried_above():
    """A new way needs its test."""
    assert set(Way) == {"plain", "mention", "reply", "thread"}
