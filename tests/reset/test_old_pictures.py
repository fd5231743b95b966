"""Server reset on a homeserver whose syncs may be old, or which says yes to everything: what it claims of the rooms."""

from __future__ import annotations

import json
import math

import aiohttp
import jsonschema
import pytest

from greenroom_reset.summary import document, manual_steps, summary_lines
from tests.fake_homeserver import PREFIX, FakeHomeserver
from tests.reset.conftest import ALICE, BOT, SERVER, Shown, add_room, event, joined, room_of, schema

DOUBT = "the homeserver does not show that its sync is current"
NONE = "none: the account is in no room"


@pytest.fixture
def by_token(online):
    """The bot's settings with the token of its device, and without a password."""
    return {**online, "MATRIX_ACCESS_TOKEN": "saved", "MATRIX_PASSWORD": ""}


@pytest.fixture
def saved(online, bot_state):
    """The bot's settings with its saved session and the password."""
    return online


async def take_first_picture(server: FakeHomeserver, wanted: str = "{}") -> None:
    """Let the bot's device sync once, with this filter. From now on it has only this picture."""
    server.devices["saved"] = "D"
    server.pictures_from_a_cache = True
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer saved"}) as session:
        await (await session.get(f"{server.url}{PREFIX}/sync", params={"filter": wanted})).read()


def texts(plan, shown: Shown) -> str:
    return shown.text.getvalue() + "\n".join(summary_lines(plan)) + json.dumps(document(plan))


def acknowledged_syncs(server: FakeHomeserver) -> list[str]:
    """Syncs that tell the homeserver that to-device messages have arrived."""
    return [r.query["since"] for r in server.requests if r.path == "/sync" and "since" in r.query]


async def test_where_a_sync_is_current_nothing_more_is_asked(saved, server, shown):
    """Two syncs with answers that must differ show that a picture is current: no device is made, no room is read."""
    server.devices["saved"] = "D"
    add_room(server, "!a:hs")

    summary = await shown.reset(saved, SERVER, yes=True)

    assert summary.exit_code == 0
    assert server.count("GET /sync") == 4
    assert server.count("POST /login|GET /rooms") == 0
    assert DOUBT not in texts(summary, shown)


@pytest.mark.parametrize(("wanted", "asked"), [("{}", 1), ('{"account_data":{"types":["m.direct"]}}', 2)])
async def test_an_old_picture_is_noticed_and_a_new_device_takes_the_pictures(saved, server, shown, wanted, asked):
    """Rooms, invites and left rooms that the bot's device is not told of are left, declined and forgotten.

    An old picture with push rules is unlike the first question's answer, one without them unlike the second's.
    """
    await take_first_picture(server, wanted)
    add_room(server, "!joined:hs", "join", joined(ALICE), event("m.room.name", {"name": "Chat"}))
    add_room(server, "!invited:hs", "invite")
    add_room(server, "!left:hs", "leave")

    summary = await shown.reset(saved, SERVER, yes=True)

    assert summary.exit_code == 0
    assert (server.rooms, summary.server.count("done")) == ({}, 3)
    assert (room_of(summary, "!joined:hs").others, room_of(summary, "!joined:hs").name) == ((ALICE,), "Chat")
    assert server.devices == {"saved": "D"}
    assert server.count("POST /login") == 2
    assert server.count("GET /sync") == 1 + asked + 2  # the first picture, on the bot's device, on each new device
    assert acknowledged_syncs(server) == []
    assert DOUBT not in texts(summary, shown)


async def test_the_bots_to_device_messages_are_never_acknowledged(by_token, server, shown):
    """No sync continues from a token: the bot's next start would lack room keys that were sent to it."""
    await take_first_picture(server)
    add_room(server, "!a:hs")

    await shown.reset(by_token, SERVER, yes=True)

    assert server.count("GET /sync") > 1
    assert acknowledged_syncs(server) == []


async def test_an_old_picture_with_rooms_that_are_gone_makes_no_work(saved, server, shown):
    """What only the old picture has is not in the plan."""
    add_room(server, "!gone:hs")
    add_room(server, "!declined:hs", "invite")
    await take_first_picture(server)
    server.rooms.clear()

    summary = await shown.reset(saved, SERVER, yes=True)

    assert (summary.server.rooms, summary.exit_code) == ([], 0)
    assert server.paths(writes_only=True) == []


async def test_without_a_password_joined_rooms_are_known_and_the_rest_is_said_to_be_unknown(by_token, server, shown):
    """`joined_rooms` and each room's state are current. Invites are in a sync only, and the run does not end with 0."""
    await take_first_picture(server)
    add_room(server, "!joined:hs", "join", joined(ALICE), event("m.room.name", {"name": "Chat"}))
    add_room(server, "!invited:hs", "invite")

    summary = await shown.reset(by_token, SERVER, yes=True)

    room = room_of(summary, "!joined:hs")
    assert (room.state, room.name, room.others) == ("done", "Chat", (ALICE,))
    assert [*server.rooms] == ["!invited:hs"]
    assert summary.exit_code == 1
    assert DOUBT in shown.text.getvalue()
    assert f"1 of 1 confirmed, no more than that: {DOUBT}" in texts(summary, shown)
    assert any("whether the account has other invites" in step for step in manual_steps(summary))
    jsonschema.validate(json.loads(json.dumps(document(summary))), schema())


@pytest.mark.parametrize("options", [{"dry_run": True}, {"yes": True}])
async def test_an_account_whose_rooms_are_not_known_is_not_called_empty(by_token, server, shown, options):
    """An empty plan from a picture that may be old is not a claim that there is nothing."""
    await take_first_picture(server)
    add_room(server, "!invited:hs", "invite")

    summary = await shown.reset(by_token, SERVER, **options)

    assert summary.server.rooms == []
    assert NONE not in texts(summary, shown)
    assert any(DOUBT in line and line.startswith(("  none that", "  nothing")) for line in summary_lines(summary))


async def test_a_room_of_an_old_picture_that_was_left_is_forgotten_and_not_left(by_token, server, shown):
    """A room that the account left since the picture is read as left; one that cannot be read is not called left."""
    for room_id in ("!left:hs", "!forgotten:hs"):
        add_room(server, room_id, "join", joined(ALICE))
    await take_first_picture(server)
    server.rooms["!left:hs"].member(BOT, "leave", by=ALICE)
    del server.rooms["!forgotten:hs"]

    summary = await shown.reset(by_token, SERVER, yes=True)

    left, forgotten = room_of(summary, "!left:hs"), room_of(summary, "!forgotten:hs")
    assert (left.action, left.by, left.state) == ("forget (kicked)", ALICE, "done")
    assert "not known" in forgotten.action
    assert (forgotten.state, forgotten.still) == ("unverified", None)
    assert server.count("POST /rooms/.*/leave") == 0


async def test_without_a_current_listing_a_yes_proves_nothing(by_token, server, shown):
    """A homeserver that does not let the account read what it left cannot show that it forgot: unverified."""
    await take_first_picture(server)
    server.says_yes, server.left_rooms_can_be_read = True, False
    add_room(server, "!a:hs")

    summary = await shown.reset(by_token, SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "unverified"
    assert summary.exit_code == 1


@pytest.mark.parametrize("settings", ["by_token", "saved"])
async def test_a_yes_without_an_effect_is_found_out(settings, server, shown, request):
    """200 for a leave and a forget that did nothing: the room is in the closing listing, so it is not done."""
    await take_first_picture(server)
    server.says_yes = True
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/(leave|forget)", 200, {}, times=math.inf)

    summary = await shown.reset(request.getfixturevalue(settings), SERVER, yes=True)

    assert (room_of(summary, "!a:hs").state, room_of(summary, "!a:hs").still) == ("failed", "join")
    assert summary.exit_code == 1


@pytest.mark.parametrize("settings", ["by_token", "saved"])
async def test_a_forget_without_an_effect_is_found_out(settings, server, shown, request):
    """200 for a forget that did nothing: the account still reads the room as left."""
    await take_first_picture(server)
    add_room(server, "!a:hs")
    server.fail("POST /rooms/!a:hs/forget", 200, {}, times=math.inf)

    summary = await shown.reset(request.getfixturevalue(settings), SERVER, yes=True)

    state = room_of(summary, "!a:hs").state
    assert state == ("failed" if settings == "saved" else "unverified")
    assert summary.exit_code == 1


async def test_left_rooms_without_state_are_read(online, server, shown):
    """Where the sync leaves the state of left rooms out, who kicked is read there; of a ban nothing can be read."""
    server.left_without_state = True
    add_room(server, "!kicked:hs", "join", joined(ALICE))
    server.rooms["!kicked:hs"].member(BOT, "leave", by=ALICE)
    add_room(server, "!banned:hs", "ban")

    summary = await shown.reset(online, SERVER, yes=True)

    kicked, banned = room_of(summary, "!kicked:hs"), room_of(summary, "!banned:hs")
    assert (kicked.how, kicked.by, kicked.others) == ("kicked", ALICE, (ALICE,))
    assert (banned.how, banned.members_known) == ("unknown", False)
    assert "left earlier" not in texts(summary, shown)
    assert summary.exit_code == 0
    jsonschema.validate(json.loads(json.dumps(document(summary))), schema())


async def test_a_joined_room_that_the_sync_lacks_is_read(online, server, shown):
    """Its name and its members are in the plan, although only `joined_rooms` names it."""
    add_room(server, "!quiet:hs", "join", joined(ALICE), event("m.room.name", {"name": "Quiet"}))
    server.absent.add("!quiet:hs")

    summary = await shown.reset(online, SERVER, dry_run=True)

    assert (room_of(summary, "!quiet:hs").name, room_of(summary, "!quiet:hs").others) == ("Quiet", (ALICE,))


async def test_rooms_that_joined_rooms_lacks_are_a_contradiction(online, server, shown):
    """A room that the sync calls joined and `joined_rooms` lacks, also when asked again, is not verified."""
    add_room(server, "!a:hs")
    server.when("POST /rooms/!a:hs/forget", lambda: server.fail("GET /sync", 200, old))
    old = {"next_batch": "s", "rooms": {"join": {"!a:hs": {}}}}

    summary = await shown.reset(online, SERVER, yes=True)

    assert "names 1 room that joined_rooms lacks" in summary.server.unverified_because
    assert (room_of(summary, "!a:hs").state, summary.exit_code) == ("unverified", 1)


async def test_a_room_that_was_joined_between_both_questions_is_no_contradiction(online, server, shown):
    """`joined_rooms` is asked again, and has it then."""
    add_room(server, "!a:hs")
    server.fail("GET /joined_rooms", 200, {"joined_rooms": []})

    summary = await shown.reset(online, SERVER, yes=True)

    assert summary.exit_code == 0
    assert "contradict" not in texts(summary, shown)
    assert not any("joined_rooms lacks" in note for note in summary.notes)


async def test_devices_of_killed_runs_are_signed_out(saved, server, shown):
    """Each picture's device has a name of its own, and all that a killed run left are signed out."""
    server.devices |= {"saved": "D", "x": "GREENROOM_RESET_PICTURE_1", "y": "GREENROOM_RESET_PICTURE_2", "z": "PHONE"}

    summary = await shown.reset(saved, SERVER, yes=True)

    assert summary.exit_code == 0
    assert sorted(server.devices.values()) == ["D", "PHONE"]


async def test_a_device_that_cannot_be_made_leaves_doubt(saved, server, shown):
    """If the password is refused, the run goes on with what the bot's device can know, and says so."""
    await take_first_picture(server)
    add_room(server, "!a:hs")
    server.fail("POST /login", 403, {"errcode": "M_FORBIDDEN"}, times=math.inf)

    summary = await shown.reset(saved, SERVER, yes=True)

    assert room_of(summary, "!a:hs").state == "done"
    assert summary.exit_code == 1
    assert any("no device could take a new picture" in note for note in summary.notes)
