"""Blueprints are checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources

import jsonschema
import pytest
import yaml

from greenroom.errors import BlueprintError, Misuse
from greenroom.seed.blueprint import schema_text
from greenroom.seed.load import load_blueprint, packaged_blueprints, parse_blueprint
from greenroom.seed.repeat import settings_of

HEAD = "version: 1\nname: t\npeople: [{name: alice}, {name: bot}]\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "t.yaml:1:5: not YAML: expected the node content, but found '<stream end>'"),
        ("- a", "t.yaml: must be a mapping with version, name, people and rooms"),
        ("version: 2\nname: t\npeople: []", "t.yaml:1:10: version: input should be 1, not 2"),
        (HEAD + "roms: []", "t.yaml:4:1: roms: there is no such field; did you mean 'rooms'?"),
        ("version: 1\nname: ../up\npeople: []", "t.yaml:2:7: name: '../up' is part of a file's name"),
        ("version: 1\nname: .git\npeople: []", "t.yaml:2:7: name: '.git' is part of a file's name"),
        (f"version: 1\nname: {'n' * 300}\npeople: []", "it has at most 60 letters"),
        ("version: 1\nname: t\npeople: [{name: Alice}]", "t.yaml:3:17: people[0].name: 'Alice' is not a localpart"),
        (
            HEAD + "rooms: [{key: den, creator: alice, name: 'Room ${n}'}]",
            "t.yaml:4:42: rooms[0].name: ${n} is a number only in a room with `repeat`",
        ),
        (HEAD + "rooms: [den]", "t.yaml:4:9: rooms[0]: must be a mapping, not 'den'"),
        (
            HEAD + "rooms: [{key: 'c${n}', creator: alice, repeat: -1}]",
            "t.yaml:4:48: rooms[0].repeat: input should be greater than or equal to 0, not -1",
        ),
        (
            "version: 1\nname: t\npeople: [{name: a}, {name: a}]",
            "t.yaml:3:28: people[1].name: two people are called 'a'",
        ),
        (HEAD + "rooms: [{key: k}]", "t.yaml:4:9: rooms[0].creator: is missing"),
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
            "rooms[0].state: 'k' needs itself to exist first",
        ),
        (
            HEAD + "rooms: [{key: k, creatr: bot}]",
            "t.yaml:4:18: rooms[0].creatr: there is no such field; did you mean 'crea",
        ),
        (HEAD + "rooms: [{key: k, zzz: bot}]", "zzz: there is no such field; there are key, repeat, creator,"),
        (
            HEAD + "rooms: [{key: k, creator: bott}]",
            "t.yaml:4:27: rooms[0].creator: nobody is called 'bott'; did you mean 'bot'?",
        ),
        (
            HEAD + "rooms: [{key: den, creator: bot}, {key: k, creator: bot, space: true, children: [dan]}]",
            "rooms[1].children[0]: no room has the key 'dan'; did you mean 'den'?",
        ),
        (
            HEAD + "rooms: [{key: den, creator: bot, topic: 'see ${room:dem}'}]",
            "t.yaml:4:41: rooms[0].topic: ${room:dem} is no room of this blueprint; did you mean 'den'?",
        ),
        (
            HEAD + "rooms: [{key: den, creator: bot, topic: '${users:bot}'}]",
            "topic: ${users:bot} is no reference; there are",
        ),
        (HEAD + "name: again", "t.yaml:4:1: the field 'name' stands here already, in line 2"),
        (
            HEAD + "rooms:\n- key: k\n  creator: bot\n  topic: a\n  topic: b",
            "t.yaml:8:3: the field 'topic' stands here already, in line 7",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {users: {alice: much}}}]",
            "t.yaml:4:62: rooms[0].power_levels.users.alice: input should be a valid integer, not 'much'",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {ban: true}}]",
            "input should be a valid integer, not True",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {ban: '50'}}]",
            "input should be a valid integer, not '50'",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {ban: 9007199254740992}}]",
            "power_levels.ban: input should be less than or equal to 9007199254740991, not 9007199254740992",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, power_levels: {bans: 5}}]",
            "bans: there is no such field; did you mean 'ban'?",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: [1.5]}}]}]",
            "t.yaml:4:64: rooms[0].state[0].content.a[0]: 1.5 is refused by homeservers",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: 2026-01-02}}]}]",
            "content.a: an event cannot hold '2026-01-02' (date); put it in quotes",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: {on: 1}}}]}]",
            "content.a: the field True is not text; put it in quotes",
        ),
        (HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, content: {a: 9007199254740992}}]}]", "is too large"),
        (HEAD + "rooms: &r [{key: k, creator: bot, state: *r}]", "t.yaml:4:8: contains itself"),
        (
            HEAD + "description: !thing {}",
            "t.yaml:4:14: not YAML: could not determine a constructor for the tag '!thing'",
        ),
        (HEAD + "description: 2026-99-99", "t.yaml: not YAML: month must be in 1..12"),
        (
            HEAD + "rooms: [{key: k, creator: bot, left: [bot]}]",
            "rooms[0].left[0]: 'bot' is the creator, and a room without",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, members: [alice], banned: [alice]}]",
            "'alice' is among the members already",
        ),
        (HEAD + "rooms: [{key: k, creator: bot, replaced_by: kk}]", "no room has the key 'kk'; did you mean 'k'?"),
        (HEAD + "rooms: [{key: k, creator: bot, replaced_by: k}]", "'k' needs itself to exist first"),
        (
            HEAD + "rooms: [{key: a, creator: bot}, "
            "{key: b, creator: bot, replaced_by: a}, {key: c, creator: bot, replaced_by: a}]",
            "rooms[2].replaced_by: 'a' replaces another room already",
        ),
        (
            HEAD + "rooms: [{key: k, creator: bot, state: [{type: t, sender: alice, content: {}}]}]",
            "rooms[0].state[0].sender: 'alice' is not a member",
        ),
        (HEAD + "rooms: [{key: k, creator: bot, repeat: 3}]", "the key 'k' of a repeated room needs a ${n}"),
        (HEAD + "rooms: [{key: 'k${n}', creator: bot}]", "the key 'k${n}' has a ${n}, but the room has no `repeat`"),
        (HEAD + "rooms: [{key: 'k${n}', creator: bot, repeat: -1}]", "greater than or equal to 0, not -1"),
        (
            HEAD + "variables: {rooms: 2}\nrooms: [{key: 'k${n}', creator: bot, repeat: romos}]",
            "t.yaml:5:46: rooms[0].repeat: there is no variable 'romos'; did you mean 'rooms'?",
        ),
        (
            HEAD + "rooms: [{key: 'k${n}', creator: bot, repeat: 2}, {key: l, creator: bott}]",
            "t.yaml:4:68: rooms[1].creator: nobody is called 'bott'",
        ),
        (HEAD + "description: !!timestamp soon", "t.yaml: not YAML: a !!timestamp is no date"),
        ("[" * 5000, "t.yaml: is nested too deeply"),
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


COUNTED = (
    HEAD + "variables: {rooms: 2}\nrooms: [{key: s, creator: bot, space: true, children: ['c${n}']},"
    " {key: 'c${n}', repeat: rooms, creator: bot, name: 'Chat ${n}', topic: 'in ${room:s}, after ${n}'}]"
)


@pytest.mark.parametrize(("settings", "count"), [({}, 2), ({"rooms": 3}, 3), ({"rooms": 0}, 0)])
def test_a_repeated_room_stands_for_as_many_rooms_as_its_variable_says(settings, count):
    """Each has its number in every text, and a Space that lists the key lists them all."""
    blueprint = parse_blueprint(COUNTED, "t.yaml", settings)

    keys = [f"c{n}" for n in range(1, count + 1)]
    assert [room.key for room in blueprint.rooms] == ["s", *keys]
    assert blueprint.room("s").children == keys
    assert [room.name for room in blueprint.rooms[1:]] == [f"Chat {n}" for n in range(1, count + 1)]
    assert [room.topic for room in blueprint.rooms[1:2]] == ["in ${room:s}, after 1"][:count]
    assert blueprint.fingerprint == parse_blueprint(COUNTED, "t.yaml", settings).fingerprint


@pytest.mark.parametrize(("line", "versions"), [("room_version: 11", ["11", "10"]), ("", [None, "10"])])
def test_the_room_version_of_a_blueprint_is_that_of_rooms_that_name_none(line, versions):
    """A room's own version wins. A number without quotes is understood."""
    rooms = "[{key: a, creator: alice}, {key: b, creator: alice, room_version: 10}]"
    text = f"version: 1\nname: t\n{line}\npeople: [{{name: alice}}]\nrooms: {rooms}\n"

    assert [room.room_version for room in parse_blueprint(text, "t.yaml").rooms] == versions


def test_a_variable_that_the_blueprint_lacks_cannot_be_set():
    """The message names the one that was probably meant."""
    with pytest.raises(BlueprintError, match=r"^t.yaml: has no variable 'room' to set; did you mean 'rooms'\?$"):
        parse_blueprint(COUNTED, "t.yaml", {"room": 3})
    with pytest.raises(BlueprintError, match=r"^qa.yaml: has no variable 'rooms' to set; there are none$"):
        load_blueprint("qa", {"rooms": 3})


@pytest.mark.parametrize("word", ["rooms", "rooms=", "rooms=x", "rooms=-1", "rooms=1.5", "rooms=10001", "rooms=²"])
def test_what_set_cannot_read_is_refused(word):
    """One line, with an example."""
    with pytest.raises(Misuse, match=r"^--set needs NAME=NUMBER, with a number from 0 to 10000, not .*rooms=500$"):
        settings_of([word])
    assert settings_of(["rooms=500", "a=0"]) == {"rooms": 500, "a": 0}


def described(schema: dict, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field of a JSON Schema with its description."""
    for field, inner in schema.get("properties", {}).items():
        yield f"{name}.{field}", inner.get("description", "")
    for title, definition in schema.get("$defs", {}).items():
        yield from described(definition, title)


def test_the_schema_explains_every_field():
    """Editors show the description beside the field."""
    fields = dict(described(json.loads(schema_text())))

    assert {"RoomBlueprint.creator", "PowerBlueprint.ban", ".people"} <= set(fields)
    assert [name for name, description in fields.items() if not description] == []


def test_the_schema_accepts_the_packaged_blueprints_and_refuses_mistakes():
    """What an editor underlines is what the program refuses."""
    schema = json.loads(schema_text())
    for name in packaged_blueprints():
        text = (resources.files("greenroom.seed") / "blueprints" / f"{name}.yaml").read_text()
        jsonschema.validate(yaml.safe_load(text), schema)
    for wrong in (HEAD + "roms: []", HEAD + "rooms: [{key: k}]", "version: 1\nname: .git\npeople: []"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(wrong), schema)


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


def test_a_place_inside_an_alias_or_a_merged_mapping_is_where_it_was_written():
    """An anchor's value has one place in the file, however often it is used."""
    text = HEAD + "rooms:\n- key: k\n  creator: bot\n  power_levels: &p {ban: 5,\n    kick: x}\n"

    with pytest.raises(BlueprintError, match=r"^t.yaml:8:11: rooms\[0\]\.power_levels\.kick"):
        parse_blueprint(text, "t.yaml")
    with pytest.raises(BlueprintError, match=r"^t.yaml:8:11: rooms\[0\]\.power_levels\.kick"):
        parse_blueprint(text + "- {key: l, creator: bot, power_levels: *p}\n", "t.yaml")
    merged = HEAD + "rooms: [&one {key: k, creator: bot, topic: 5}, {<<: *one, key: l}]"
    with pytest.raises(BlueprintError, match=r"^t.yaml:4:44: rooms\[0\]\.topic: input should be a valid string, not 5"):
        parse_blueprint(merged, "t.yaml")


def test_a_text_that_only_looks_like_a_reference_is_left_alone():
    """A message may be about shell variables."""
    room = "rooms: [{key: k, creator: bot, messages: [{sender: bot, body: '${HOME} and ${PATH:-none}'}]}]"

    assert parse_blueprint(HEAD + room, "t.yaml").rooms[0].messages[0].body == "${HOME} and ${PATH:-none}"


def test_an_unknown_blueprint_is_compared_with_those_that_there_are(tmp_path, monkeypatch):
    """A name that is nearly right is answered with the right one, or with the file in the working directory."""
    with pytest.raises(BlueprintError, match=r"^qaa: no such blueprint; did you mean 'qa'\?; there are "):
        load_blueprint("qaa")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(BlueprintError, match=r"no such blueprint; did you mean 'mine.yaml'\?"):
        load_blueprint("mine")
    with pytest.raises(BlueprintError, match=r"^'': no such blueprint"):
        load_blueprint("")
    with pytest.raises(BlueprintError, match=r"^x{300}: no such blueprint"):  # longer than a file name can be
        load_blueprint("x" * 300)


def test_your_own_blueprint_is_read_by_its_path(tmp_path):
    """A name with a slash or the ending .yaml is the path of a blueprint."""
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD)

    assert load_blueprint(str(path)).name == "t"
