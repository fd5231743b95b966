"""The helpers of scenarios, without a bot and without a homeserver."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenroom.faults import Entry
from greenroom.scenarios.catalogue.basic import lose
from greenroom.scenarios.findings import waits_before_retries
from greenroom.scenarios.stage import accept_invites
from greenroom.waiting import NotYet

BOT = SimpleNamespace(user_id="@bot:greenroom.test")
SPACE, CHAT = "!space:greenroom.test", "!chat:greenroom.test"


def refused(at: float, transaction: str, text: str, room: str = "room") -> Entry:
    """Return a message that the homeserver refused with 429."""
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}"
    return Entry(at, "PUT", path, "", BOT.user_id, sent=f'{{"body": "{text}"}}', status=429)


@pytest.mark.parametrize(
    ("tries", "waits_s"),
    [
        ([], []),
        ([refused(1, "t1", "a")], []),
        ([refused(1, "t1", "a"), refused(1.5, "t1", "a"), refused(2.5, "t1", "a")], [0.5, 1]),
        ([refused(1, "t1", "a"), refused(1, "t2", "b"), refused(1.5, "t1", "a"), refused(2, "t2", "b")], [0.5, 1]),
        ([refused(1, "t1", "a"), refused(1.25, "t2", "a")], [0.25]),
        ([refused(1, "t1", "a"), refused(1.25, "t2", "a", room="other")], []),
    ],
    ids=["none", "one", "the same again", "two at once", "a new transaction id each time", "another room"],
)
def test_a_wait_is_between_tries_of_the_same_message(tries, waits_s):
    """A wait lies between tries of one message. Two sends count as one message if room and content are equal."""
    assert waits_before_retries(tries) == waits_s


class Owner:
    """A person who receives invites, some with each sync."""

    def __init__(self, *syncs: list[str]) -> None:
        self.seen = SimpleNamespace(invited={})
        self.joined: list[str] = []
        self._syncs = iter(syncs)

    async def until(self, check, **_):
        while isinstance(found := check(self.seen), NotYet):
            self.seen.invited |= dict.fromkeys(next(self._syncs), BOT.user_id)
        return found

    async def join(self, room: str) -> None:
        self.joined.append(room)

    async def state(self, room: str, kind: str) -> dict:
        return {"type": "m.space"} if room == SPACE else {}


@pytest.mark.parametrize("syncs", [([SPACE], [CHAT]), ([SPACE, CHAT],), ([CHAT, SPACE],)])
async def test_no_invite_of_the_bot_is_left_open(syncs):
    """The owner accepts all invites in any order: an open invite would look like a new room after a restart."""
    owner = Owner(*syncs)

    assert await accept_invites(owner, BOT, 1) == CHAT
    assert sorted(owner.joined) == [CHAT, SPACE]


def test_a_lost_database_may_be_files_or_a_folder(tmp_path):
    """SQLite has files beside its database, and the store of matrix-rust-sdk is a folder. Other files stay."""
    database = tmp_path / "bot.db"
    (tmp_path / "bot.db-wal").touch()
    (database / "store").mkdir(parents=True)
    (database / "store" / "keys").touch()
    (tmp_path / "config.yaml").touch()

    assert lose(database) == 2
    assert lose(database) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
