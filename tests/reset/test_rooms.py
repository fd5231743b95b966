"""From a listing to steps, without a server: their order, their names, who stays, who may still administer."""

from __future__ import annotations

import pytest

from greenroom_bot.matrix.ids import RoomId, UserId
from greenroom_reset.hosts import is_loopback
from greenroom_reset.plan import RoomStep, printable
from greenroom_reset.rooms import Listing, plan_rooms, state_of
from tests.reset.conftest import ALICE, BOT, event

CAROL = "@carol:hs1"


def _step(*events: dict, membership: str = "join") -> RoomStep:
    state = {(e["type"], e["state_key"]): e for e in events}
    (step,) = plan_rooms(Listing({RoomId("!r"): membership}, {RoomId("!r"): state}), UserId(BOT))
    return step


def _member(user: str, membership: str = "join") -> dict:
    return event("m.room.member", {"membership": membership}, user)


def _create(version: str = "10", sender: str = BOT, **content: object) -> dict:
    return event("m.room.create", {"room_version": version, **content}, sender=sender)


def _power(users: dict[str, int], **content: object) -> dict:
    return event("m.room.power_levels", {"users": users, **content})


@pytest.mark.parametrize(
    "odd",
    [
        _create("11", additional_creators=5),
        _create("11", additional_creators=None),
        _create("12", additional_creators=5),
        _create("12", additional_creators=[{}]),
        _power({ALICE: "much"}),
        _power({ALICE: float("inf")}),
        _power([], users_default=None),
        {**_power({}), "content": None},
        {**_member(CAROL), "content": "join"},
        {**_create(), "content": [], "sender": None},
        event("m.room.power_levels", {"events": 5}),
        event("m.space.child", {"via": 5}),
    ],
)
def test_an_odd_room_is_left_like_any_other(odd):
    """Strangers choose the content of an invite, so an event that makes no sense stops nothing."""
    listing = Listing({RoomId("!r"): "join"}, {RoomId("!r"): state_of([_member(ALICE), odd])})

    (step,) = plan_rooms(listing, UserId(BOT))

    assert (step.room_id, step.others) == ("!r", (ALICE,))


def test_it_tells_who_stays_and_who_has_yet_to_answer():
    """A step names who is joined and who is invited, without the bot and people who left or are banned."""
    step = _step(
        _member(BOT), _member(ALICE), _member(CAROL, "invite"), _member("@x:hs", "ban"), _member("@y:hs", "leave")
    )

    assert (step.others, step.invited) == ((ALICE,), (CAROL,))
    assert str(step) == f"room !r with {ALICE} inviting {CAROL}"


@pytest.mark.parametrize(
    ("membership", "own", "by", "said"),
    [
        ("leave", "leave", BOT, "forget (left earlier): room !r"),
        ("leave", "leave", ALICE, f"forget (kicked): room !r (kicked by {ALICE})"),
        ("leave", "ban", ALICE, f"forget (banned): room !r (banned by {ALICE})"),
        ("invite", "invite", ALICE, f"decline and forget: room !r (invited by {ALICE})"),
        ("knock", "knock", BOT, f"withdraw and forget: room !r (made by {CAROL})"),
        ("join", "join", BOT, "leave and forget: room !r"),
    ],
)
def test_it_tells_whose_doing_a_membership_is(membership, own, by, said):
    """A ban and a kick are not called a leave, an invite names who invited, and a knock who made the room."""
    member = event("m.room.member", {"membership": own}, BOT, sender=by)

    step = _step(_create(sender=CAROL), member, membership=membership)

    assert f"{step.action}: {step}" == said


@pytest.mark.parametrize("membership", ["join", "leave", "invite", "knock"])
def test_who_is_in_a_room_is_known_only_to_its_members(membership):
    """The state of an invite or a knock, and an empty state, does not list the members."""
    assert _step(_member(BOT), membership=membership).members_known is (membership in ("join", "leave"))
    assert _step(_create(), membership=membership).members_known is False


@pytest.mark.parametrize(
    ("events", "unadministered"),
    [
        ([_create(), _power({BOT: 100}), _member(ALICE)], True),
        ([_create(), _power({BOT: 100, ALICE: 100}), _member(ALICE)], False),
        ([_create(), _power({BOT: 100, ALICE: 50}), _member(ALICE)], False),
        ([_create(), _power({BOT: 100, ALICE: 50}, events={"m.room.power_levels": 100}), _member(ALICE)], True),
        ([_create(), _power({BOT: 100, ALICE: 50}, state_default=60), _member(ALICE)], True),
        ([_create(), _power({}, users_default=100), _member(ALICE)], False),
        ([_create(), _power({BOT: 100, ALICE: 100}), _member(ALICE, "leave"), _member(CAROL)], True),
        ([_create(), _member(ALICE)], False),
        ([_create("12"), _power({}), _member(ALICE)], True),
        ([_create("12", sender=ALICE), _power({}), _member(ALICE)], False),
        ([_create("12", additional_creators=[ALICE]), _power({}), _member(ALICE)], False),
        ([_create("11", sender=ALICE), _power({}), _member(ALICE)], True),
        ([_create(), _power({BOT: 100}), _member(BOT)], False),
    ],
    ids=[
        *("bot-only", "admin", "moderator-enough", "events", "state-default", "users-default", "admin-left"),
        *("no-event", "v12-bot", "v12-alice", "v12-additional", "v11-creator-unlisted", "nobody-there"),
    ],
)
def test_a_room_is_administered_by_nobody_when_no_one_who_stays_can_change_power(events, unadministered):
    """A room has no administrator if nobody who stays may change power levels; in room version 12 creators may."""
    assert _step(*events).left_to_nobody is unadministered


def test_spaces_go_after_what_is_in_them_even_in_a_ring():
    """Chats go before their Space, and a ring of Spaces does not stop the planning."""
    states = {}
    for room_id, children in {"!a": ["!b"], "!b": ["!a"], "!top": ["!mid"], "!mid": ["!chat"]}.items():
        made = [event("m.room.create", {"type": "m.space"})]
        made += [event("m.space.child", {"via": ["hs"]}, child) for child in children]
        states[RoomId(room_id)] = {(e["type"], e["state_key"]): e for e in made}
    memberships = dict.fromkeys([*states, RoomId("!chat")], "join")

    order = [step.room_id for step in plan_rooms(Listing(memberships, states), UserId(BOT))]

    assert order[0] == "!chat"
    assert order.index("!mid") < order.index("!top")


def test_a_removed_child_does_not_count():
    """`m.space.child` without `via` means that the child was taken out."""
    space = [event("m.room.create", {"type": "m.space"}), event("m.space.child", {}, "!inner")]
    states = {
        RoomId("!outer"): {(e["type"], e["state_key"]): e for e in space},
        RoomId("!inner"): {("m.room.create", ""): space[0]},
    }

    steps = plan_rooms(Listing(dict.fromkeys(states, "join"), states), UserId(BOT))

    assert {step.layer for step in steps} == {1}


def test_names_that_others_chose_cannot_move_the_cursor():
    """Control characters in the names and ids of rooms are replaced before they are printed."""
    step = _step(event("m.room.name", {"name": "\x1b[2Jhi\nthere\u202e"}))

    assert str(step).isprintable()
    assert printable("größe 🎭") == "größe 🎭"
    assert _step(event("m.room.name", {"name": 5})).name == ""


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "10.0.0.1", "matrix.org", "localhost.evil.org", "", "127.1", "::")],
    ],
)
def test_only_this_machine_is_loopback(host, here):
    """Only loopback addresses and `localhost` count as this machine; any other name may point elsewhere tomorrow."""
    assert is_loopback(host) is here
