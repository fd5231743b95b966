"""Seeding a real homeserver: once, again, after an interruption, and after somebody has changed things."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenroom.errors import HarnessError, MatrixRefused, Misuse, SeedingFailed
from greenroom.people.accounts import register, unique_localpart
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.people.person import person_on
from greenroom.seed import Seeded, Seeder, seed
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.plan import CreateRoom, Step


@pytest.fixture
def blueprint() -> Blueprint:
    """A small blueprint. Its name and its people are unique, because the tests share the homeserver."""
    anna, bert = unique_localpart("anna"), unique_localpart("bert")
    return parse_blueprint(
        f"""
version: 1
name: {unique_localpart("world")}
people: [{{name: {anna}, displayname: Anna}}, {{name: {bert}}}]
rooms:
  - {{key: home, creator: {anna}, space: true, name: Home, children: [den, old], members: [{bert}]}}
  - key: den
    creator: {anna}
    name: Den
    members: [{bert}]
    state: [{{type: dev.example, content: {{in: "${{room:home}}", who: "${{user:{bert}}}", at: "${{server}}"}}}}]
    messages: [{{sender: {anna}, body: one}}, {{sender: {bert}, body: two}}, {{sender: {anna}, body: three}}]
  - {{key: old, creator: {anna}, archived: true}}
  - {{key: talk, creator: {bert}, members: [{anna}], direct: true, encrypted: true}}
""",
        "world.yaml",
    )


async def everything(server, blueprint: Blueprint, seeded: Seeded) -> list[str]:
    """Return all event ids of all seeded rooms, and all devices.

    If two calls return the same, nothing was written in between.
    """
    found = []
    creators = {room.key: room.creator for room in blueprint.rooms}
    async with MatrixApi(server.url) as api:
        for account in seeded.people:
            token = await api.log_in(account.user_id, account.password, "LOOK")
            for key, room_id in seeded.rooms.items():
                if creators[key] != account.localpart:
                    continue
                params = {"dir": "b", "limit": "200"}
                page = await api.call("GET", path("rooms", room_id, "messages"), token=token, params=params)
                found += [event["event_id"] for event in page["chunk"]]
            devices = await api.call("GET", path("devices"), token=token)
            found += sorted(device["device_id"] for device in devices["devices"])
            await api.log_out(token)
    return found


async def test_a_second_seeding_changes_nothing_on_the_server(homeserver, blueprint):
    """Seeding the same blueprint again adds neither an event nor a device."""
    first = await seed(homeserver, blueprint)
    before = await everything(homeserver, blueprint, first)

    second = await seed(homeserver, blueprint)

    assert second.steps_done == 0
    assert second.rooms == first.rooms
    assert await everything(homeserver, blueprint, first) == before


async def test_progress_counts_every_step(homeserver, blueprint):
    """The callback hears of each step once, in the end of all."""
    heard: list[tuple[int, int]] = []

    seeded = await seed(homeserver, blueprint, on_progress=lambda done, total: heard.append((done, total)))

    assert heard == [(done, seeded.steps_done) for done in range(1, seeded.steps_done + 1)]


async def test_seeding_leaves_no_devices(homeserver, blueprint):
    """After seeding nobody has a device: the first one is that of the first login, here the test's own."""
    seeded = await seed(homeserver, blueprint)

    found = await everything(homeserver, blueprint, seeded)
    assert [line for line in found if not line.startswith("$")] == ["LOOK", "LOOK"]


async def test_what_the_blueprint_says_is_what_people_see(homeserver, blueprint):
    """Seeded rooms have the state, members, messages, Space entries, `m.direct` and encryption of the blueprint."""
    seeded = await seed(homeserver, blueprint)
    anna, bert = seeded.people
    async with person_on(homeserver, anna) as alice:
        await alice.sync()
        home, den, talk = (seeded.rooms[key] for key in ("home", "den", "talk"))

        assert await alice.state(den, "dev.example") == {"in": home, "who": bert.user_id, "at": "greenroom.test"}
        assert (await alice.state(home, "m.room.create") or {})["type"] == "m.space"
        assert await alice.state(home, "m.space.child", den) == {"via": ["greenroom.test"]}
        assert await alice.state(home, "m.space.child", seeded.rooms["old"]) is None
        assert [message["content"]["body"] for message in await alice.messages(den)] == ["one", "two", "three"]
        assert await alice.members(den) == {anna.user_id, bert.user_id}
        assert (await alice.state(talk, "m.room.encryption") or {})["algorithm"] == "m.megolm.v1.aes-sha2"
        async with MatrixApi(homeserver.url) as api:
            direct = await api.account_data(anna.user_id, "m.direct", alice.client.access_token)
        assert direct == {bert.user_id: [talk]}


def cut_off_after(limit: int, done: list[Step]) -> Callable[[Step], None]:
    """Return a callback that adds each step to `done` and fails at the step with that number."""

    def on_step(step: Step) -> None:
        done.append(step)
        if len(done) == limit:
            raise HarnessError("cut off")

    return on_step


async def test_an_interrupted_seeding_is_completed_by_the_next(homeserver, blueprint):
    """After an interruption, at whatever step, the next seeding makes what is missing and nothing twice."""
    for stop_after in (1, 3, 4, 2):
        with pytest.raises(HarnessError, match="cut off"):
            await seed(homeserver, blueprint, on_step=cut_off_after(stop_after, []), side_by_side=1)

    complete = await seed(homeserver, blueprint)

    assert (await seed(homeserver, blueprint)).steps_done == 0
    anna = complete.people[0]
    async with person_on(homeserver, anna) as alice:
        assert await alice.joined_rooms() == set(complete.rooms.values())
        bodies = [message["content"]["body"] for message in await alice.messages(complete.rooms["den"])]
        assert bodies == ["one", "two", "three"]


async def test_an_interrupted_seeding_ends_what_it_has_begun(homeserver, blueprint):
    """When one of several rooms in the making fails, the others are still finished, and the next seeding finds them."""
    done: list[Step] = []
    people = len(blueprint.people)

    with pytest.raises(HarnessError, match="cut off"):
        await seed(homeserver, blueprint, on_step=cut_off_after(people + 1, done))
    complete = await seed(homeserver, blueprint)

    assert {step.key for step in done if isinstance(step, CreateRoom)} == {"home", "old", "talk"}
    assert len(done) == people + 3
    async with person_on(homeserver, complete.people[0]) as alice:
        assert await alice.joined_rooms() == set(complete.rooms.values())


async def test_what_people_changed_is_planned_and_put_right(homeserver, blueprint):
    """The plan names each difference that people have made; seeding then removes it in the same rooms."""
    seeded = await seed(homeserver, blueprint)
    anna, bert = seeded.people
    async with person_on(homeserver, anna) as alice, person_on(homeserver, bert) as bob:
        await alice.rename(seeded.rooms["den"], "Cave")
        await bob.leave(seeded.rooms["home"])

    async with Seeder(homeserver, blueprint) as seeder:
        lines = (await seeder.plan()).lines()
    again = await seed(homeserver, blueprint)

    invited = f"invite {bert.localpart} and join home as {bert.localpart}"
    assert lines == [invited, f"set m.room.name in den as {anna.localpart}"]
    assert again.rooms == seeded.rooms
    assert (await seed(homeserver, blueprint)).steps_done == 0


async def test_a_room_that_its_creator_has_left_is_made_anew(homeserver, blueprint):
    """A room that its creator has left is seeded as a new room, because nobody could let the creator in again."""
    seeded = await seed(homeserver, blueprint)
    async with person_on(homeserver, seeded.people[0]) as alice:
        await alice.leave(seeded.rooms["old"])
        await alice.forget(seeded.rooms["old"])

    again = await seed(homeserver, blueprint)

    assert {key for key in again.rooms if again.rooms[key] != seeded.rooms[key]} == {"old"}


async def test_somebody_elses_account_is_not_seeded(homeserver, blueprint):
    """When an account exists with another password, seeding fails with one line, whose hint is the caller's."""
    taken = blueprint.people[1].name
    await register(homeserver, taken, "something else")

    problem = f"@{taken}:greenroom.test exists, but not with the password of blueprint '{blueprint.name}'"
    with pytest.raises(Misuse, match=f"^{problem}; to start over: .* begin again$"):
        await seed(homeserver, blueprint, start_over="begin again")


async def test_a_step_that_the_homeserver_refuses_is_named_with_its_room(homeserver):
    """The message names blueprint, step, room and person, holds the homeserver's own words, and says what to try."""
    anna, world = unique_localpart("anna"), unique_localpart("world")
    head = f"{{version: 1, name: {world}, people: [{{name: {anna}}}], rooms: [{{key: den, creator: {anna}, state: ["
    wrong = parse_blueprint(head + "{type: m.room.create, content: {}}]}]}", "world.yaml")

    with pytest.raises(SeedingFailed) as caught:
        await seed(homeserver, wrong)

    assert f"blueprint '{world}': create room den as {anna}: POST " in str(caught.value)
    assert isinstance(caught.value.cause, MatrixRefused)
    assert str(caught.value.cause) in str(caught.value)
    assert "Try: correct the blueprint, then seed again" in str(caught.value)


async def test_the_qa_blueprint_can_be_seeded_twice(fresh_homeserver):
    """Seeding the packaged blueprint `qa` makes its people once; seeding it again does nothing."""
    server = await fresh_homeserver()

    first = await seed(server, load_blueprint("qa"))

    assert {account.localpart for account in first.people} == {"alice", "carol", "dave", "bot"}
    assert (await seed(server, load_blueprint("qa"))).steps_done == 0
