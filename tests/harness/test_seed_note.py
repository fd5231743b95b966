"""The note says which version of a blueprint was applied, and what a newer one does not undo."""

from __future__ import annotations

import pytest

from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint, parse_blueprint
from greenroom.seed.note import Note, note_path, read_note, stays, write_note

HEAD = "version: 1\nname: t\npeople: [{name: alice, displayname: Al}, {name: bob}, {name: bot, password: secret}]\n"
ROOM = "key: den, creator: bot"


def blueprint(rooms: str = "", head: str = HEAD) -> Blueprint:
    return parse_blueprint(f"{head}rooms: [{rooms}]", "t.yaml")


def test_a_written_note_is_read_again(tmp_path):
    """The note survives a round through its file, which belongs to its owner alone and holds no password."""
    path = note_path(tmp_path, blueprint())
    note = Note.of(blueprint(f"{{{ROOM}, messages: [{{sender: bot, body: hi}}]}}"))

    write_note(path, note)

    assert read_note(path) == note
    assert path.name == "seeded-t"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "secret" not in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 9, "sha256": "", "people": {}, "rooms": {}}',
        '{"version": 1, "sha256": "a", "people": 3, "rooms": {}}',
        '{"version": 1, "sha256": "a", "people": {}, "rooms": {"a": 1}}',
    ],
)
def test_an_old_or_damaged_note_counts_as_none(tmp_path, text):
    """Then the blueprint is applied again, which changes nothing where it is there already."""
    (tmp_path / "seeded-t").write_text(text)

    assert read_note(tmp_path / "seeded-t") is None
    assert read_note(tmp_path / "absent") is None


def test_the_fingerprint_follows_the_meaning_and_not_the_layout():
    """Comments, order of fields and spelled-out defaults do not change it. Every value does, a password too."""
    plain = blueprint(f"{{{ROOM}}}").fingerprint

    assert blueprint("{creator: bot, key: den, direct: false}, # the den\n").fingerprint == plain
    assert blueprint(f"{{{ROOM}, name: Den}}").fingerprint != plain
    assert blueprint(f"{{{ROOM}}}", HEAD.replace("secret", "other")).fingerprint != plain
    assert load_blueprint("qa").fingerprint == load_blueprint("qa").fingerprint


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (f"{{{ROOM}}}", "", "room den stays, with everybody in it"),
        (f"{{{ROOM}}}", "{key: den, creator: alice}", "room den of bot stays; alice creates another"),
        (f"{{{ROOM}, members: [bob]}}", f"{{{ROOM}}}", "bob stays in room den"),
        (f"{{{ROOM}, invited: [bob]}}", f"{{{ROOM}}}", "bob stays invited to room den"),
        (f"{{{ROOM}}}", f"{{{ROOM}, space: true}}", "room den keeps its space: it is set when a room is created"),
        (
            f"{{{ROOM}}}",
            f"{{{ROOM}, power_levels: {{ban: 10}}}}",
            "room den keeps its power_levels: it is set when a room is created",
        ),
        (f"{{{ROOM}, encrypted: true}}", f"{{{ROOM}}}", "room den stays encrypted"),
        (f"{{{ROOM}}}", f"{{{ROOM}, archived: true}}", "room den stays in every Space that lists it"),
        (f"{{{ROOM}, state: [{{type: t, content: {{}}}}]}}", f"{{{ROOM}}}", "room den keeps the state t"),
        (
            f"{{{ROOM}, messages: [{{sender: bot, body: hi}}]}}",
            f"{{{ROOM}, messages: [{{sender: bot, body: ho}}]}}",
            "room den keeps the messages that were sent",
        ),
    ],
)
def test_what_a_newer_version_does_not_undo_is_said(before, after, line):
    """Seeding adds and corrects; it never removes."""
    assert stays(Note.of(blueprint(before)), blueprint(after)) == [line]


def test_a_room_that_a_space_no_longer_lists_is_said_unless_the_room_itself_is_gone():
    """One line for each room is enough."""
    space, den = "{key: home, creator: bot, space: true, children: [den]}", f"{{{ROOM}}}"
    unlisted = "{key: home, creator: bot, space: true}"

    assert stays(Note.of(blueprint(f"{space}, {den}")), blueprint(f"{unlisted}, {den}")) == [
        "room den stays listed in space home"
    ]
    assert stays(Note.of(blueprint(f"{space}, {den}")), blueprint(unlisted)) == ["room den stays, with everybody in it"]


def test_people_who_are_gone_from_the_blueprint_are_named():
    """An account stays, and so does a display name."""
    fewer = blueprint(head="version: 1\nname: t\npeople: [{name: alice, displayname: Alma}, {name: bot}]\n")

    assert stays(Note.of(blueprint()), fewer) == [
        "alice keeps the display name 'Al'",
        "bob stays: an account is never removed",
    ]


def test_a_version_that_only_adds_leaves_nothing_behind():
    """Nor does a first seeding, without a note."""
    more = f"{{{ROOM}, name: Den, members: [bob], messages: [{{sender: bot, body: hi}}]}}, {{key: new, creator: bot}}"

    assert stays(Note.of(blueprint(f"{{{ROOM}}}")), blueprint(more)) == []
    assert stays(None, blueprint()) == []
