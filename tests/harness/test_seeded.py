"""What a seeded homeserver says about itself."""

from __future__ import annotations

import pytest

from greenroom.errors import Misuse
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.people.accounts import Account
from greenroom.seed import Seeded

ALICE = Account("@alice:greenroom.test", "secret")
SEEDED = Seeded((ALICE,), {"home": "!1", "den": "!2"}, 0)


def test_a_seeded_homeserver_knows_accounts_and_rooms():
    """By the names and keys of the blueprint."""
    server = ExternalHomeserver("http://127.0.0.1:1", "greenroom.test")
    server.note_seeded(SEEDED)

    assert server.is_seeded
    assert server.seeded.account("alice") is ALICE
    assert server.seeded.room("den") == "!2"


def test_a_homeserver_without_a_blueprint_says_so():
    """The message names it; nobody meets an attribute of None."""
    server = ExternalHomeserver("http://127.0.0.1:1", "greenroom.test")

    assert not server.is_seeded
    with pytest.raises(Misuse, match=r"^homeserver \(synapse, external\) was started without a blueprint, so nothing"):
        _ = server.seeded


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (lambda: SEEDED.account("alcie"), "the blueprint has nobody called 'alcie'; did you mean 'alice'?"),
        (lambda: SEEDED.room("attic"), "the blueprint has no room 'attic'; there are home, den"),
    ],
)
def test_a_name_that_the_blueprint_lacks_is_one_clear_line(ask, problem):
    """With the name that was probably meant, or all of them."""
    with pytest.raises(Misuse) as caught:
        ask()

    assert str(caught.value) == problem
