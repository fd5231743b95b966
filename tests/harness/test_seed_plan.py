"""A seeding's plan is a pure function of the blueprint and the server's present state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenroom.errors import Unavailable
from greenroom.homeserver.external import ExternalHomeserver
from greenroom.homeserver.interface import Capability, Registration
from greenroom.people.accounts import derived_password
from greenroom.seed import RoomView, ServerView, make_plan
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.logins import accounts_of
from greenroom.seed.plan import CreateRoom
from greenroom.seed.resolve import Names, create_room_body, state_by_others, tombstone

SERVER = "greenroom.test"
SMALL = parse_blueprint(
    """
version: 1
name: small
people: [{name: alice}, {name: bot}]
rooms:
  - {key: home, creator: bot, space: true, children: [den, attic, old], members: [alice]}
  - {key: den, creator: bot, members: [alice], state: [{type: t, content: {in: "${room:home}"}}]}
  - {key: attic, creator: bot, name: "Attic of ${server}", messages: [{sender: bot, body: hi}, {sender: bot, body: ho}]}
  - {key: old, creator: bot, archived: true}
  - {key: talk, creator: alice, members: [bot], direct: true}
""",
    "small.yaml",
)


MOVED = parse_blueprint(
    """
version: 1
name: moved
people: [{name: alice}, {name: bob}, {name: carol}, {name: bot}]
rooms:
  - {key: new, creator: alice}
  - key: old
    creator: alice
    replaced_by: new
    room_version: "10"
    invited: [bot]
    left: [bob]
    banned: [carol]
    state: [{type: t, sender: bob, content: {in: "${room:new}"}}]
    messages: [{sender: carol, body: hi}]
""",
    "moved.yaml",
)


def seeded(blueprint) -> ServerView:
    """Return the state of a server after a seeding with the blueprint."""
    ids = {room.key: f"!{room.key}" for room in blueprint.rooms}
    names = Names(SERVER, ids)
    rooms = {}
    for room in blueprint.rooms:
        children = [key for key in room.children if not blueprint.room(key).archived]
        body = create_room_body(blueprint, room, names, children)
        state = {(e["type"], e["state_key"]): e["content"] for e in body["initial_state"]}
        for field in ("name", "topic"):
            if field in body:
                state[f"m.room.{field}", ""] = {field: body[field]}
        events = [event for _, event in state_by_others(room)]
        for event in (*events, tombstone(room)):
            if event:
                state[event["type"], names.fill(event["state_key"])] = names.fill(event["content"])
        out = {"left": "leave", "banned": "ban", "invited": "invite", "members": "join"}
        for field, membership in out.items():
            for name in getattr(room, field):
                state["m.room.member", names.user(name)] = {"membership": membership}
        rooms[room.key] = RoomView(ids[room.key], state, frozenset(range(len(room.messages))))
    direct: dict[str, dict[str, list[str]]] = {}
    for room in blueprint.rooms:
        if room.direct:
            one, other = room.creator, *room.members
            direct.setdefault(one, {}).setdefault(names.user(other), []).append(ids[room.key])
            direct.setdefault(other, {}).setdefault(names.user(one), []).append(ids[room.key])
    return ServerView(frozenset(p.name for p in blueprint.people), rooms, direct)


def lines(view: ServerView, blueprint=SMALL) -> list[str]:
    return make_plan(blueprint, view, SERVER).lines()


def test_an_empty_server_gets_everything_in_an_order_that_works():
    """Accounts come first, and a room after the rooms it refers to. A Space lists existing rooms when it is created."""
    assert lines(ServerView()) == [
        "register alice",
        "register bot",
        "create room attic as bot",
        "create room old as bot",
        "create room talk as alice",
        "create room home as bot, listing attic",
        "create room den as bot",
        "list den in space home as bot",
        "join home as alice",
        "join den as alice",
        "join talk as bot",
        "record direct room(s) talk for alice",
        "record direct room(s) talk for bot",
        "send 2 message(s) in attic",
    ]


def test_departures_and_the_tombstone_come_last_and_the_replacement_after_the_room_it_replaces():
    """Who has left or been banned can do nothing more, so everything else is done before."""
    assert lines(ServerView(frozenset({"alice", "bob", "carol", "bot"})), MOVED) == [
        "create room old as alice",
        "create room new as alice",
        "join old as bob",
        "join old as carol",
        "set t in old as bob",
        "send 1 message(s) in old",
        "set m.room.tombstone in old as alice",
        "leave old as bob",
        "ban carol from old as alice",
    ]


def test_a_replacement_and_a_room_version_are_in_create_room():
    """The replacement names its predecessor; the event of another sender is not among the initial state."""
    names = Names(SERVER, {"old": "!old"})

    new = create_room_body(MOVED, MOVED.room("new"), names, [])
    old = create_room_body(MOVED, MOVED.room("old"), names, [])

    assert new["creation_content"]["predecessor"] == {"room_id": "!old"}
    assert "room_version" not in new
    assert old["room_version"] == "10"
    assert old["invite"] == [names.user(name) for name in ("bob", "carol", "bot")]
    assert [event["type"] for event in old["initial_state"]] == ["dev.greenroom.seed"]


@pytest.mark.parametrize(
    ("person", "membership", "steps"),
    [
        ("bob", None, ["invite bob and join old as bob", "leave old as bob"]),
        ("bob", "invite", ["join old as bob", "leave old as bob"]),
        ("bob", "join", ["leave old as bob"]),
        ("bob", "ban", []),
        ("carol", None, ["invite carol and join old as carol", "ban carol from old as alice"]),
        ("carol", "join", ["ban carol from old as alice"]),
        ("carol", "leave", ["ban carol from old as alice"]),
        ("bot", None, ["invite bot to old as alice"]),
        ("bot", "leave", ["invite bot to old as alice"]),
        ("bot", "ban", ["unban bot and invite bot to old as alice"]),
        ("bot", "join", []),
    ],
)
def test_a_membership_is_brought_to_that_of_the_blueprint(person, membership, steps):
    """Whoever should be out has been in; an invite that was accepted stays accepted."""
    state = dict(seeded(MOVED).rooms["old"].state)
    state["m.room.member", f"@{person}:{SERVER}"] = {"membership": membership}

    assert lines(change(seeded(MOVED), "old", state=state), MOVED) == (steps or ["nothing to do: everything is there"])


def test_people_who_are_out_of_a_room_are_not_asked_to_do_more_in_it():
    """A message or a state event that an edited blueprint adds for them cannot be sent."""
    state = {**seeded(MOVED).rooms["old"].state, ("t", ""): {}}

    assert lines(change(seeded(MOVED), "old", state=state, messages=frozenset()), MOVED) == [
        "nothing to do: everything is there"
    ]


def test_a_seeded_server_needs_nothing():
    """The plan for a seeded server is empty."""
    for blueprint in (
        SMALL,
        MOVED,
        load_blueprint("qa"),
        load_blueprint("drift"),
        load_blueprint("large", {"rooms": 3}),
    ):
        assert lines(seeded(blueprint), blueprint) == ["nothing to do: everything is there"]


def test_planning_changes_neither_of_its_inputs():
    """Planning twice with the same inputs returns the same plan, and it is a plan that has steps."""
    view = seeded(SMALL)
    missing = replace(view, rooms={key: room for key, room in view.rooms.items() if key != "den"})
    before = (repr(missing), repr(SMALL))

    planned = lines(missing)

    assert planned
    assert lines(missing) == planned
    assert (repr(missing), repr(SMALL)) == before


def test_only_what_is_missing_is_made():
    """If one room is missing, the plan creates and lists that room and nothing else."""
    view = seeded(SMALL)
    rooms = {key: room for key, room in view.rooms.items() if key != "den"}

    assert lines(replace(view, rooms=rooms)) == [
        "create room den as bot",
        "list den in space home as bot",
        "join den as alice",
    ]


def change(view: ServerView, key: str, **changes) -> ServerView:
    return replace(view, rooms={**view.rooms, key: replace(view.rooms[key], **changes)})


def test_changed_state_is_restored():
    """The plan restores a changed room name, and a removed entry of a Space (one without `via`)."""
    view = seeded(SMALL)
    view = change(view, "attic", state={**view.rooms["attic"].state, ("m.room.name", ""): {"name": "Loft"}})
    view = change(view, "home", state={**view.rooms["home"].state, ("m.space.child", "!attic"): {}})

    assert lines(view) == ["list attic in space home as bot", "set m.room.name in attic as bot"]


def test_a_member_who_left_is_invited_again_and_an_invited_one_only_joins():
    """A member who left is invited again. An invited one only joins: the server would refuse a second invite."""
    view = seeded(SMALL)
    alice = ("m.room.member", "@alice:greenroom.test")
    view = change(view, "home", state={**view.rooms["home"].state, alice: {"membership": "leave"}})
    view = change(view, "den", state={**view.rooms["den"].state, alice: {"membership": "invite"}})

    assert lines(view) == ["invite alice and join home as alice", "join den as alice"]


def test_existing_messages_are_not_sent_again():
    """The plan sends only the messages that a room lacks."""
    assert lines(change(seeded(SMALL), "attic", messages=frozenset({0}))) == ["send 1 message(s) in attic"]


def test_steps_of_one_room_share_a_lane_and_a_wave_waits_for_the_one_before():
    """The steps of one room run one after another, because events sent at the same moment fork its history."""
    waves = list(make_plan(SMALL, ServerView(), SERVER).waves())

    assert next([str(step) for step in lane] for lane in waves[-2]) == [
        "list den in space home as bot",
        "join home as alice",
    ]
    created = [step.key for wave in waves for lane in wave for step in lane if isinstance(step, CreateRoom)]
    assert created.index("home") < created.index("den")


def test_the_creator_is_listed_in_power_levels_before_version_12_only():
    """Room version 12, Synapse's default, refuses a listed creator with 400; before, it takes away its power."""
    names = Names(SERVER, {room.key: f"!{room.key}" for room in load_blueprint("qa").rooms})
    for room in load_blueprint("qa").rooms:
        for lists_creator in (False, True):
            body = create_room_body(load_blueprint("qa"), room, names, [], lists_creator=lists_creator)
            users = body.get("power_level_content_override", {}).get("users", {})
            creator = {names.user("bot"): 100} if lists_creator else {}
            assert users == ({} if room.key == "direct" else {**creator, names.user("alice"): 10})


FIXED = parse_blueprint("{version: 1, name: f, people: [{name: alice}, {name: bot, password: said}]}", "f.yaml")


def test_a_password_is_the_blueprints_or_else_derived_from_the_secret_of_the_homeserver():
    """Two homeservers give a person two passwords, unless the blueprint fixes one."""
    registration = Registration(Capability.SHARED_SECRET_REGISTRATION, "one")
    server = ExternalHomeserver("http://127.0.0.1:1", SERVER, registration=registration)

    alice, bot = accounts_of(FIXED, server)

    assert (alice.user_id, alice.password) == (f"@alice:{SERVER}", derived_password("one", "alice"))
    assert (bot.user_id, bot.password) == (f"@bot:{SERVER}", "said")


def test_without_the_secret_of_the_homeserver_the_blueprint_has_to_fix_the_passwords():
    """The error names the person and both ways out."""
    server = ExternalHomeserver("http://127.0.0.1:1", SERVER)

    with pytest.raises(Unavailable, match=r"the password of alice .* a fixed `password` .* registration secret"):
        accounts_of(FIXED, server)


def test_a_fixed_password_is_pointed_out_and_not_shown():
    """Each person with a fixed password has one line; the others have none."""
    assert FIXED.warnings() == ["bot's password is fixed in the blueprint: anybody who reads that file can log in"]
