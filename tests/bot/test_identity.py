"""The identity event: what the bot writes, and what it accepts when it reads."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from greenroom_bot.rooms.identity import VERSION, Identity, MalformedIdentity, initial_state_event
from tests.bot.factory import ALICE, INSTANCE, SPACE, identity_content

CHAT = Identity(
    kind="chat", chat_id="C1", owner=ALICE, space_id=SPACE, instance=INSTANCE, request="$asked-for-chat", title="Chat 1"
)


def test_an_identity_goes_onto_the_wire_with_its_version():
    """The state event holds every field of the identity and the version."""
    event = initial_state_event(CHAT)

    assert (event["type"], event["state_key"]) == ("dev.greenroom.chat", "")
    assert event["content"] == identity_content()
    assert event["content"]["v"] == VERSION


def test_what_the_bot_writes_it_reads_back():
    """An identity survives the way to the homeserver and back."""
    assert Identity.parse(CHAT.content()) == CHAT


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"v": 2}, "v is 2, not 1"),
        ({"v": ...}, "v is None, not 1"),
        ({"kind": "sofa"}, "kind is 'sofa'"),
        ({"chat_id": ""}, "chat_id is ''"),
        ({"owner": "alice"}, "owner is 'alice'"),
        ({"owner": "@\ud800:hs1"}, "owner is '@\\ud800:hs1'"),
        ({"chat_id": "C" + "9" * 5000}, "chat_id is 'C99999999999...9999999999999'"),
        ({"owner": ...}, "owner is None"),
        ({"space_id": 5}, "space_id is 5"),
        ({"instance": ""}, "instance is ''"),
        ({"request": ""}, "request is ''"),
        ({"title": 5}, "title is 5"),
        ({"archived": 1}, "archived is 1"),
        ({"archived": "yes", "chat_id": 7}, "chat_id is 7"),
    ],
    ids=str,
)
def test_a_malformed_identity_names_its_first_wrong_key(wrong, named):
    """The message names the key and its value, so that a person can find the mistake."""
    with pytest.raises(MalformedIdentity) as raised:
        Identity.parse(identity_content(**wrong))

    assert str(raised.value) == named


def test_optional_keys_may_be_left_out():
    """An identity without Space, title and archived flag is a chat that has none of them."""
    parsed = Identity.parse(identity_content(space_id=..., title=..., archived=...))

    assert (parsed.space_id, parsed.title, parsed.archived) == (None, "", False)


def test_a_title_is_clean_whoever_wrote_it():
    """What an identity is made with or read from: its title has no lone surrogates and no hidden characters."""
    assert Identity.parse(identity_content(title="\u202eChat\ud800 1\n")) == CHAT


def test_extra_keys_are_not_kept():
    """An unknown key does no harm, and the bot does not write it back."""
    assert Identity.parse(identity_content(colour="green")) == CHAT


def test_an_identity_cannot_be_changed():
    """An identity is a value: a changed one is a new one."""
    with pytest.raises(ValidationError):
        CHAT.title = "Other"
