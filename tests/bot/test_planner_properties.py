"""What holds for every view of a server, however odd: Hypothesis checks it with generated scenes and with junk."""

from __future__ import annotations

import contextlib
import json
from dataclasses import astuple, fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.identity import Identity, MalformedIdentity
from greenroom_bot.rooms.planner import RULES, Plan, RoomOutcome, plan
from greenroom_bot.rooms.reconcile import routed
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.view import STATE_TYPES, ServerView, direct_rooms, room_view, server_view
from tests.bot.factory import ALICE, CAROL, INSTANCE, ME, Room, Scene, identity_content

PEOPLE = [ALICE, CAROL]
ROOM_IDS = [f"!room{n}" for n in range(4)]
STATUSES = ["active", "left", "tombstoned", "orphaned", "powerless", "conflict"]

quick = settings(
    deadline=None, max_examples=50, database=None
)  # no deadline: the machine may be busy with a homeserver next door

# Junk: JSON of any shape, with the keys and values that mean something sprinkled in

WORDS = [*ROOM_IDS, ME, ALICE, *STATE_TYPES, "", "join", "leave", "m.space", "12", "chat", "9" * 5000, "+-5", "\ud800"]
KEYS = [
    "rooms", "join", "leave", "invite", "state", "timeline", "events", "invite_state", "account_data", "type",
    "content", "state_key", "sender", "origin_server_ts", "membership", "users", "users_default", "room_version", "via",
    "additional_creators", "replacement_room", "name", "algorithm", "v", "kind", "chat_id", "owner", "is_direct",
]  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -(10**400), 2**63]) | st.floats()
    | st.text(max_size=5) | st.sampled_from(WORDS)
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*KEYS, *ROOM_IDS, *PEOPLE]) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@st.composite
def events(draw: st.DrawFn) -> Any:
    """Draw a state event as the bot may meet it: it has the right keys, and any part of it may be wrong."""
    contents = st.dictionaries(st.sampled_from(KEYS), scalars | st.dictionaries(st.sampled_from([ME, ALICE]), scalars))
    event = {
        "type": draw(st.sampled_from([*STATE_TYPES, "m.direct"]) | junk),
        "state_key": draw(st.sampled_from(["", ME, ALICE, *ROOM_IDS]) | junk),
        "sender": draw(st.sampled_from([ME, ALICE]) | junk),
        "content": draw(contents | junk),
        "origin_server_ts": draw(scalars),
    }
    for key in draw(st.sets(st.sampled_from(sorted(event)), max_size=2)):
        del event[key]
    return draw(st.just(event) | junk)


def listed(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={"events": st.lists(items, max_size=6) | junk}) | junk


sections = st.fixed_dictionaries(
    {}, optional={"state": listed(events()), "timeline": listed(events()), "invite_state": listed(events())}
)
nasty_syncs = st.fixed_dictionaries(
    {},
    optional={
        "rooms": st.dictionaries(
            st.sampled_from(["join", "leave", "invite"]),
            st.dictionaries(st.sampled_from(ROOM_IDS) | st.text(max_size=3), sections | junk, max_size=4) | junk,
        )
        | junk,
        "account_data": listed(events()),
    },
)

# Plausible scenes: rooms of ours and of others in every condition, and rows that may or may not fit them


@st.composite
def rooms(draw: st.DrawFn, room_id: str) -> Room:
    version = draw(st.sampled_from(["12", "11", None]))
    creator = draw(st.sampled_from([ME, ME, ME, CAROL]))
    room = Room(room_id, creator=creator, version=version, ts=draw(st.integers(0, 5)),
                **draw(st.sampled_from([{}, {}, {"type": "m.space"}])))  # fmt: skip
    room.member(ME, "join")
    for person in PEOPLE:
        if membership := draw(st.sampled_from(["join", "join", "invite", "leave", "ban", None])):
            room.member(person, membership)
    if draw(st.integers(0, 5)):
        kind = "space" if "type" in room.state["m.room.create", ""]["content"] else "chat"
        identity = {
            "kind": draw(st.sampled_from([kind, kind, kind, kind, "space", "chat", "nonsense"])),
            "chat_id": "space" if kind == "space" else draw(st.sampled_from(["C1", "C2"])),
            "owner": draw(st.sampled_from(PEOPLE)),
            "space_id": draw(st.sampled_from([None, *ROOM_IDS])),
            "instance": draw(st.sampled_from([INSTANCE] * 5 + ["other"])),
            "request": draw(st.sampled_from(["$one", "$two", "$three"])),
            "title": draw(st.sampled_from(["A", "", "\u202e", "\ud800B", "y" * 500])),
            "archived": draw(st.booleans()),
            "v": draw(st.sampled_from([1] * 6 + [2, None])),
        }
        room.identity(by=draw(st.sampled_from([ME] * 5 + [CAROL])), **identity)
    if draw(st.booleans()):
        room.named(draw(st.sampled_from(["A", "B", "", "\u202e", "\ud800", "two\nlines", "x" * 500])))
    if draw(st.booleans()):
        room.power(users=draw(st.sampled_from([{ME: 100}, {ME: 50}, {ALICE: 100}])))
    if not draw(st.integers(0, 4)):
        room.replaced_by(draw(st.sampled_from([*ROOM_IDS, ...])))
    if draw(st.booleans()):
        room.encrypted()
    return room.children(*draw(st.sets(st.sampled_from(ROOM_IDS))))


rows = st.builds(
    RoomRow,
    room_id=st.sampled_from([RoomId(r) for r in ROOM_IDS]),
    kind=st.sampled_from(["space", "chat", "chat", "direct"]),
    chat_id=st.sampled_from([ChatId(c) for c in ("space", "C1", "C2", "C3", "")]),
    owner=st.sampled_from(PEOPLE),
    space_id=st.sampled_from([None, *map(RoomId, ROOM_IDS)]),
    title=st.sampled_from(["A", "B", "Chat 1", "", "two\nlines"]),
    archived=st.booleans(),
    linked=st.booleans(),
    encrypted=st.booleans(),
    status=st.sampled_from(STATUSES),
    request=st.sampled_from(["$one", "$two", ""]),
    created_ts=st.integers(0, 5),
)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    where = {room_id: draw(st.sampled_from(["joined"] * 5 + ["left", "invited", "absent"])) for room_id in ROOM_IDS}
    sections: dict[str, list[Room]] = {"joined": [], "left": [], "invited": [], "absent": []}
    for room_id, section in where.items():
        room = draw(rooms(room_id))
        if section == "left":
            room.member(ME, draw(st.sampled_from(["leave", "ban"])), by=ALICE)
        sections[section].append(room)
    listed = [r.room_id for r in sections["joined"]]
    strays = [r for r in ROOM_IDS if draw(st.integers(0, 9)) == 0]
    joined_rooms = draw(
        st.sampled_from([listed, listed, [*listed, *strays], [r for r in listed if r not in strays], None])
    )
    remembered = {row.room_id: row for row in draw(st.lists(rows, max_size=6))}
    direct = draw(st.sampled_from([{}, {ALICE: [ROOM_IDS[0]]}, {CAROL: ROOM_IDS[:2]}]))
    return Scene(
        sections["joined"], sections["left"], sections["invited"], list(remembered.values()), direct, joined_rooms
    )


def by_id(some: Any) -> dict[RoomId, RoomRow]:
    return {row.room_id: row for row in some}


def decide(view: ServerView, remembered: dict[RoomId, RoomRow]) -> Plan:
    return plan(view, remembered, instance=INSTANCE, interrupted=["$three"])


def honest(scene: Scene) -> set[RoomId]:
    """Return the joined rooms whose identity is ours, readable and of the room's own kind."""
    found = set()
    for room in scene.view().rooms.values():
        try:
            identity = Identity.parse(room.identity or {})
        except MalformedIdentity:
            continue
        genuine = room.identity_sender == ME and identity.instance == INSTANCE
        if genuine and room.membership == "join" and (identity.kind == "space") == room.is_space:
            found.add(room.room_id)
    return found


def mapping(remembered: dict[RoomId, RoomRow], of: set[RoomId]) -> dict[RoomId, tuple[UserId, ChatId]]:
    """Return which chat each room is, for the rooms that are one."""
    return {r: (row.owner, row.chat_id) for r, row in remembered.items() if r in of and routed(row)}


# Plausible scenes


@quick
@given(scenes())
def test_every_room_seen_has_exactly_one_outcome(scene):
    """Every room of the sync, of `joined_rooms` and of the records is judged exactly once."""
    view = scene.view()
    judged = [o.room_id for o in decide(view, by_id(scene.rows)).outcomes]

    assert len(judged) == len(set(judged))
    assert set(judged) == set(view.rooms) | {row.room_id for row in scene.rows} | set(view.joined or ())


@quick
@given(scenes())
def test_the_counters_add_up_to_the_rooms_seen(scene):
    """The report has a counter for every outcome, and they add up to the rooms seen."""
    report = decide(scene.view(), by_id(scene.rows)).report()

    assert set(report["outcomes"]) == {*RULES, "conflict"}
    assert sum(report["outcomes"].values()) == report["rooms_seen"]


@quick
@given(scenes())
def test_planning_again_after_applying_changes_nothing(scene):
    """After a plan is applied, the next plan writes no row and reports only what still stands."""
    view, remembered = scene.view(), by_id(scene.rows)
    first = decide(view, remembered)

    again = decide(view, {**remembered, **by_id(first.rows)})

    assert again.rows == ()
    assert {o.outcome for o in again.outcomes} <= {"unchanged", "skipped", "conflict", "invite_pending"}


@quick
@given(scenes())
def test_a_lost_database_leads_to_the_same_chats(scene):
    """Every honest room is the same chat whether the planner starts from the records or from nothing."""
    view = scene.view()
    # A room that could not be fetched is known to the records only: the one thing that a lost database loses.
    remembered = {r: row for r, row in by_id(scene.rows).items() if r in view.rooms}
    kept = {**remembered, **by_id(decide(view, remembered).rows)}
    rebuilt = by_id(decide(view, {}).rows)

    clear = {o.room_id for o in decide(view, {}).outcomes if o.outcome != "skipped"} & honest(scene)
    assert mapping(kept, clear) == mapping(rebuilt, clear)


@quick
@given(scenes())
def test_absence_from_a_sync_alone_never_marks_a_room_as_left(scene):
    """A room that `joined_rooms` lists is never marked as left."""
    view = scene.view()
    marked = {o.room_id for o in decide(view, by_id(scene.rows)).outcomes if o.outcome == "left_offline"}

    assert not marked & set(view.joined or ())


@quick
@given(scenes())
def test_a_degraded_run_never_marks_a_room_as_left(scene):
    """Without `joined_rooms` no room is marked as left."""
    degraded = replace(scene, joined_rooms=None)
    decided = decide(degraded.view(), by_id(scene.rows))

    assert decided.degraded
    assert not [row for row in decided.rows if row.status == "left"]


@quick
@given(scenes())
def test_no_two_rooms_in_use_are_one_chat(scene):
    """Planned from nothing, a person's chat is at most one room in use."""
    chats = [
        (row.owner, row.chat_id)
        for row in decide(scene.view(), {}).rows
        if row.kind != "direct" and row.status in ("active", "powerless")
    ]

    assert len(chats) == len(set(chats))


@quick
@given(scenes())
def test_rows_are_only_ever_rewritten_for_their_own_room(scene):
    """The row of a verdict belongs to the room of that verdict."""
    for outcome in decide(scene.view(), by_id(scene.rows)).outcomes:
        assert outcome.row is None or outcome.row.room_id == outcome.room_id


def test_a_plan_can_hold_nothing_but_local_rows():
    """A plan has no place for a server write: it holds words and rows only."""
    assert {f.name: f.type for f in fields(Plan)} == {"outcomes": "tuple[RoomOutcome, ...]", "degraded": "bool"}
    assert {f.type for f in fields(RoomOutcome)} == {"RoomId", "str", "RoomRow | None", "tuple[str, ...]"}
    assert {f.type for f in fields(RoomRow)} <= {
        "RoomId", "UserId", "ChatId", "RowKind", "Status", "RoomId | None", "str", "bool", "int",
    }  # fmt: skip


# Junk


def reconciled(view: ServerView) -> None:
    """Do with a view what the bot does: plan, report, check that a database takes the rows, and plan again."""
    decided = decide(view, {})
    json.dumps(decided.report())
    for room in view.rooms.values():
        f"{room.name}{room.left_because}{room.created_by}{room.invited_by}".encode()
        assert abs(room.created_ts) < 2**63
    for row in decided.rows:
        "".join(map(str, astuple(row))).encode()
    assert decide(view, by_id(decided.rows)).rows == ()


@quick
@given(nasty_syncs, st.none() | st.lists(st.sampled_from(ROOM_IDS) | junk))
def test_no_sync_answer_makes_the_planner_raise(sync, joined):
    """The planner judges every sync answer, however malformed, without an exception."""
    reconciled(server_view(sync, joined, ME))


@quick
@given(st.lists(events()))
def test_no_room_state_makes_the_planner_raise(state):
    """The planner judges every state of a single room, however malformed, without an exception."""
    view = room_view(ROOM_IDS[0], state, ME, default="join")

    reconciled(ServerView(ME, {RoomId(ROOM_IDS[0]): view}, frozenset({RoomId(ROOM_IDS[0])}), complete=False))


def test_ids_with_lone_surrogates_reach_no_record():
    """No database takes them: a room, a direct room, an inviter or the author of a kick that has one does not count."""
    odd = "@\ud800:hs1"
    kicked = Room("!room0").put("m.room.member", {"membership": "ban"}, key=ME, sender=odd)
    invited = Room("!room1", creator=CAROL).member(ME, "invite", by=odd, is_direct=True)
    sync = Scene([Room("!\ud800")], [kicked], [invited], direct={odd: ["!x"], CAROL: ["!\ud800", "!y"]}).sync()

    view = server_view(sync, ["!\ud800"], ME)

    assert set(view.rooms) == {"!room0", "!room1"}
    assert view.rooms[RoomId("!room0")].left_because == "left"
    assert view.rooms[RoomId("!room1")].invited_by == ""
    assert (view.direct, view.joined) == ({"!y": CAROL}, frozenset())


@quick
@given(junk)
def test_any_m_direct_is_read(content):
    """Malformed parts of `m.direct` are passed over, and the well-formed part beside them is still read."""
    assert all(isinstance(key, str) for key in direct_rooms(content))
    if isinstance(content, dict):
        assert direct_rooms({**content, ALICE: ["!well-formed"]})["!well-formed"] == ALICE


@quick
@given(st.dictionaries(st.sampled_from(list(identity_content())), junk).map(lambda wrong: identity_content(**wrong)))
def test_any_identity_content_is_an_identity_or_malformed(content):
    """Reading an identity returns an identity or raises MalformedIdentity, and nothing else."""
    with contextlib.suppress(MalformedIdentity):
        assert Identity.parse(content).content()["owner"].startswith("@")
