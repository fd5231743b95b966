"""An invite from elsewhere can arrive before its homeserver has stored it: then a refused join is no answer yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from greenroom.people.joining import join_room

REFUSED = SimpleNamespace(status_code="M_FORBIDDEN")
JOINED = SimpleNamespace(room_id="!room")


class Client:
    """A client that was invited by somebody, and whose joins are answered in this order."""

    user_id = "@carol:b.org"

    def __init__(self, inviter: str | None, *answers: Any) -> None:
        self.invited_rooms = {"!room": SimpleNamespace(inviter=inviter)} if inviter else {}
        self.answers = list(answers)

    async def join(self, room_id: str) -> Any:
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("inviter", "answer", "left"),
    [
        ("@alice:a.org", JOINED, 0),
        ("@alice:b.org", REFUSED, 2),
        (None, REFUSED, 2),
    ],
)
async def test_only_an_invite_from_elsewhere_is_tried_again_after_a_refusal(inviter, answer, left):
    """On one homeserver, and without an invite, a refusal is the answer."""
    client = Client(inviter, REFUSED, REFUSED, JOINED)

    assert await join_room(client, "!room") is answer
    assert len(client.answers) == left


async def test_other_refusals_are_answers_at_once():
    """A broken homeserver is not a matter of time."""
    broken = SimpleNamespace(status_code="M_UNKNOWN")

    assert await join_room(Client("@alice:a.org", broken), "!room") is broken
