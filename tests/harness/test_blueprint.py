"""Blueprints are checked when they are read."""

from __future__ import annotations

import pytest

from greenroom.errors import BlueprintError
from greenroom.seed.load import load_blueprint, packaged_blueprints, parse_blueprint

HEAD = "version: 1\nname: t\npeople: [{name: alice}, {name: bot}]\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "t.yaml: line 1, column 5: not YAML: expected the node content, but found '<stream end>'"),
        ("- a", "t.yaml: must be a mapping with version, name, people and rooms"),
        ("version: 2\nname: t\npeople: []", "t.yaml: version: Input should be 1"),
        (HEAD + "roms: []", "t.yaml: roms: there is no such field"),
        ("version: 1\nname: ../up\npeople: []", "t.yaml: name: '../up' is part of a file's name"),
        ("version: 1\nname: .git\npeople: []", "t.yaml: name: '.git' is part of a file's name"),
        (f"version: 1\nname: {'n' * 300}\npeople: []", "it has at most 60 letters"),
        ("version: 1\nname: t\npeople: [{name: Alice}]", "t.yaml: people[0].name: 'Alice' is not a localpart"),
        ("version: 1\nname: t\npeople: [{name: a}, {name: a}]", "t.yaml: people[1].name: two people are called 'a'"),
        (HEAD + "rooms: [{key: k}]", "t.yaml: rooms[0].creator: Field required"),
        (HEAD + "rooms: [{key: k, creator: eve}]", "rooms[0].creator: nobody is called 'eve'; there are alice, bot"),
        (HEAD + "rooms: [{key: k, creator: bot, members: [eve]}]", "rooms[0].members[0]: nobody is called 'eve'"),
        (HEAD + "rooms: [{key: k, creator: bot}, {key: k, creator: bot}]", "rooms[1].key: two rooms have the key 'k'"),
        (HEAD + "rooms: [{key: k, creator: bot, children: [k]}]", "rooms[0].children: only a Space has children"),
        (
            HEAD + "rooms: [{key: k, creator: bot, space: true, children: [x]}]",
            "rooms[0].children[0]: no room has the key 'x'",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {users: {bot: 100}}}]",
            "rooms[0].power_levels.users.bot: the creator has every power already",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, direct: true}]",
            "rooms[0].direct: a direct chat has exactly two people",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, messages: [{sender: alice, body: hi}]}]",
            "rooms[0].messages[0].sender: 'alice' is not a member",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: {b: ['${room:x}']}}}]}]",
            "rooms[0].state[0].content.a.b[0]: ${room:x} is no room of this blueprint",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: '${room:k}'}}]}]",
            "rooms[0].state: 'k' refers to itself",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_in_one_line(text, complaint):
    """A mistake in a blueprint is refused in one line that names its place in the file."""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(text, "t.yaml")

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_packaged_blueprint_is_valid():
    """Every blueprint in the package can be loaded by its name."""
    assert "qa" in packaged_blueprints()
    for name in packaged_blueprints():
        assert load_blueprint(name).name == name


def test_the_qa_rooms_of_the_bot_are_as_the_bot_makes_them():
    """The rooms of `qa` carry the bot's identity event with their chat ids; no Space lists the archived room."""
    qa = load_blueprint("qa")
    identities = {
        room.key: state.content for room in qa.rooms for state in room.state if state.type == "dev.greenroom.chat"
    }

    assert [identities[key]["chat_id"] for key in ("space", "c1", "c2", "c3", "c4")] == [
        "space",
        "C1",
        "C2",
        "C3",
        "C4",
    ]
    assert [key for key, content in identities.items() if content["archived"]] == ["c4"]
    assert qa.room("c4").archived
    for key, content in identities.items():
        assert set(content) == {"v", "kind", "chat_id", "owner", "space_id", "instance", "title", "archived", "request"}
        assert content["request"] == f"seed:qa:{key}"


def test_your_own_blueprint_is_read_by_its_path(tmp_path):
    """A name with a slash or the ending .yaml is the path of a blueprint."""
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD)

    assert load_blueprint(str(path)).name == "t"
