"""Server reset against a counting homeserver: what is asked of it, in which order, and what may not be asked."""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import os

import pytest

from greenroom_bot.matrix.client import Client, WriteRefused
from greenroom_reset.act import CONCURRENCY
from greenroom_reset.errors import Refused
from greenroom_reset.pace import Pace
from greenroom_reset.rooms import Listing
from greenroom_reset.summary import document, manual_steps, summary_lines
from tests.fake_homeserver import FakeHomeserver
from tests.reset.conftest import ALICE, SERVER, Shown, acknowledged, add_room, event, joined, memberships, tree


def one_of_each(server: FakeHomeserver) -> None:
    add_room(server, "!joined:hs", "join", event("m.room.member", {"membership": "join"}, ALICE))
    add_room(server, "!invited:hs", "invite", event("m.room.name", {"name": "Come in"}))
    add_room(server, "!knocked:hs", "knock")
    add_room(server, "!left:hs", "leave")


async def test_joined_invited_knocked_and_left_rooms_all_go(online, server, shown):
    """The account leaves rooms, declines invites, withdraws knocks, and forgets all of them, rooms left earlier too."""
    one_of_each(server)

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.rooms == {}
    assert summary.server.count("done") == 4
    assert sorted(server.paths(writes_only=True)) == sorted(
        [f"POST /rooms/!{room}:hs/leave" for room in ("joined", "invited", "knocked")]
        + [f"POST /rooms/!{room}:hs/forget" for room in ("joined", "invited", "knocked", "left")]
    )


async def test_a_dry_run_sends_no_write_and_prints_the_plan_of_the_real_run(online, server):
    """A dry run changes no room, and the real run begins by printing the same plan."""
    one_of_each(server)
    before, dry, real = memberships(server), Shown(), Shown()

    summary = await dry.reset(online, SERVER, dry_run=True)
    writes_of_dry_run, after = server.paths(writes_only=True), memberships(server)
    await real.reset(online, SERVER, yes=True)

    assert writes_of_dry_run == []
    assert after == before
    assert summary.exit_code == 0
    assert summary.server.count("planned") == 4
    assert real.text.getvalue().startswith(dry.text.getvalue())
    assert dry.text.getvalue().startswith("Plan of a development reset")
    assert sorted(acknowledged(real)) == ["!invited:hs", "!joined:hs", "!knocked:hs", "!left:hs"]
    assert acknowledged(dry) == []
    assert len(server.paths(writes_only=True)) == 7


async def test_local_files_stay_untouched(online, server, bot_state, shown):
    """A server reset changes no byte of the bot's local state and adds no file."""
    one_of_each(server)
    before = tree(bot_state)

    await shown.reset(online, SERVER, yes=True)

    assert tree(bot_state) == before


async def test_chats_go_before_the_space_they_are_in(online, server, shown):
    """The account leaves the chats first, then their Space, then the Space of Spaces."""
    child = lambda room_id: event("m.space.child", {"via": ["hs"]}, room_id)  # noqa: E731
    space = event("m.room.create", {"type": "m.space"})
    add_room(server, "!a-top:hs", "join", space, child("!b-space:hs"))
    add_room(server, "!b-space:hs", "join", space, child("!c-chat:hs"), child("!d-chat:hs"))
    for chat in ("!c-chat:hs", "!d-chat:hs"):
        add_room(server, chat)

    await shown.reset(online, SERVER, yes=True)

    assert [path.split("/")[2] for path in server.paths(writes_only=True)][-4:] == ["!b-space:hs"] * 2 + [
        "!a-top:hs"
    ] * 2


async def test_never_more_than_a_few_requests_at_once(online, server, shown):
    """Requests go in parallel, but never more than CONCURRENCY."""
    for number in range(100):
        add_room(server, f"!{number}:hs")
    server.when("POST /.*/leave", lambda: asyncio.sleep(0.01), times=math.inf)

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.server.count("done") == 100
    assert 1 < server.most_at_once <= CONCURRENCY


async def test_a_server_that_forgets_on_leave_is_not_asked_again(online, server, shown):
    """With `m.forget_forced_upon_leave` only rooms that were left earlier are forgotten by request."""
    server.forgets_on_leave = True
    add_room(server, "!joined:hs")
    add_room(server, "!left:hs", "leave")

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert sorted(server.paths(writes_only=True)) == [
        "POST /rooms/!joined:hs/leave",
        "POST /rooms/!left:hs/forget",
    ]


async def test_until_somebody_has_said_yes_the_client_cannot_write(online, server, shown, monkeypatch):
    """Before the confirmation the client refuses writes, so a bug in the survey cannot become one."""

    async def buggy(client: Client, pace: Pace) -> Listing:
        await client.request("POST", "rooms", "!a:hs", "leave")
        return Listing({}, {})

    monkeypatch.setattr("greenroom_reset.look.list_rooms", buggy)
    with pytest.raises(WriteRefused):
        await shown.reset(online, SERVER, yes=True)

    assert server.paths(writes_only=True) == []


async def test_a_second_run_does_not_claim_that_nobody_is_left(online, server, shown):
    """The account cannot see who is in rooms that it has forgotten, so the manual steps call that not known."""
    add_room(server, "!a:hs", "join", joined(ALICE))

    first = await shown.reset(online, SERVER, yes=True)
    second = await Shown().reset(online, SERVER, yes=True)

    assert f"{ALICE}: leave or archive the 1 still open there" in "\n".join(manual_steps(first))
    assert second.server.rooms == []
    assert [*manual_steps(second)] == [
        "not known: who is in rooms that the account forgot before; ask the people who used the bot"
    ]
    assert "3. Manual steps in a Matrix client for a true clean room" in [*summary_lines(second)]
    assert "none: people" not in "\n".join(summary_lines(second))


async def test_people_in_rooms_that_were_left_earlier_are_named(online, server, shown):
    """A room that was left and not forgotten shows its members as of then; an invite does not show them."""
    add_room(server, "!left:hs", "leave", joined(ALICE))
    add_room(server, "!invited:hs", "invite")

    steps = [*manual_steps(await shown.reset(online, SERVER, yes=True))]

    assert any(step.startswith(f"{ALICE}: leave or archive the 1 still open") for step in steps)
    assert any(step.startswith("not known: who is in 1 of the rooms above") for step in steps)


async def test_every_listing_asks_with_a_filter_of_its_own(online, server, shown):
    """Servers answer an identical sync from a cache for minutes, so each sync uses another filter."""
    add_room(server, "!joined:hs")

    await shown.reset(online, SERVER, yes=True)
    await shown.reset(online, SERVER, dry_run=True)

    filters = [request.query["filter"] for request in server.requests if request.path == "/sync"]
    assert len(filters) == len(set(filters)) == 6
    assert [json.loads(wanted)["room"].get("include_leave") for wanted in filters] == [True, None] * 3


async def test_a_password_in_the_url_is_refused_and_not_repeated(online, server, shown):
    """A homeserver URL with a password is refused in a line that does not contain the password."""
    url = server.url.replace("http://", "http://me:hunter2@")

    with pytest.raises(Refused, match="holds a user name or a password") as refused:
        await shown.reset({**online, "MATRIX_HOMESERVER": url}, SERVER, yes=True)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://matrix.org", "http://10.0.0.1:8008", "http://0.0.0.0:8008", "http://[2001::1]"]
)
async def test_a_homeserver_elsewhere_is_refused_before_any_request(online, server, shown, url):
    """A homeserver that is not on this machine is refused, in a dry run too, and the message names the way out."""
    for options in ({"yes": True}, {"dry_run": True}):
        with pytest.raises(Refused, match="--i-know-this-is"):
            await shown.reset({**online, "MATRIX_HOMESERVER": url}, SERVER, **options)

    assert server.requests == []


async def test_a_host_named_wrongly_is_refused(online, server, shown):
    """`--i-know-this-is` must name the host in the URL, on this machine too."""
    with pytest.raises(Refused, match=r"names 'example\.org'"):
        await shown.reset(online, SERVER, yes=True, known_host="example.org")

    assert (await shown.reset(online, SERVER, yes=True, known_host="127.0.0.1")).exit_code == 0


@pytest.mark.parametrize("path", ["/", ".", "./", "..", "missing/bot.db"])
async def test_a_database_path_that_names_no_file_does_not_stop_a_server_reset(
    online, server, shown, tmp_path, monkeypatch, path
):
    """A server reset needs no local file and makes none."""
    monkeypatch.chdir(tmp_path)
    add_room(server, "!a:hs")

    summary = await shown.reset({**online, "MATRIX_DB_PATH": path}, SERVER, yes=True)

    assert (summary.exit_code, server.rooms) == (0, {})
    assert tree(tmp_path) == {"bot": b""}


async def test_a_running_bot_is_mentioned_before_its_rooms_are_left(online, server, bot_state, shown):
    """A server reset does not touch the files of a running bot, so it only notes that the bot is running."""
    with (bot_state / "bot.db").open("rb") as bots:
        fcntl.flock(bots, fcntl.LOCK_EX)
        summary = await shown.reset(online, SERVER, dry_run=True)

    assert summary.exit_code == 0
    assert f"the bot is running (pid {os.getpid()})" in shown.text.getvalue()
    assert any("the bot is running" in note for note in document(summary)["notes"])
