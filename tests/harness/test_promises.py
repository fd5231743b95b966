"""A promises file is checked and read. Each mistake in it is one line with its place."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from greenroom.errors import Misuse
from greenroom.scenarios import CATALOGUE, NOT_PROMISED, load_promises
from greenroom.scenarios.command import Options, what_to_judge
from greenroom.scenarios.load import check_command, parse_promises
from greenroom.scenarios.promises import BotPromises, promises_schema

BOT = "@echo-1:greenroom.test"


def parsed(**fields) -> BotPromises:
    """Return the promises of a bot with these fields."""
    return parse_promises({"command": "python bot.py", **fields}, "bot.yaml", Path("/"))


def test_only_what_is_written_is_promised():
    """A scenario that the file does not name is not promised, and not refused."""
    bot = parsed(promises={"answers": "yes", "kicked": False})

    assert (bot.promised("answers"), bot.promised("kicked"), bot.promised("dead-token")) == ("yes", NOT_PROMISED, None)


def test_default_yes_promises_what_is_not_named():
    """A line for a scenario wins over `default`; `default: no` says nothing."""
    bot = parsed(promises={"default": True, "kicked": False, "message-while-down": "unanswered"})

    assert (bot.promised("answers"), bot.promised("kicked")) == ("yes", NOT_PROMISED)
    assert bot.promised("message-while-down") == "unanswered"
    assert parsed(promises={"default": False}).promised("answers") is None


def test_yes_no_and_words_are_understood():
    """`yes`, `no` and the name of a way are valid, though YAML reads yes and no as booleans."""
    bot = parsed(promises={"kicked": False, "state-lost": True, "burst-while-down": "once"})

    ways = {name: scenario.way_of(bot) for name, scenario in CATALOGUE.items() if name in bot.promises}
    assert ways == {"kicked": NOT_PROMISED, "state-lost": "yes", "burst-while-down": "once"}


def test_promises_that_are_all_comments_are_none():
    """YAML reads a key without a value as null."""
    assert parsed(promises=None).promises == {}


@pytest.mark.parametrize(
    ("ask", "question"),
    [
        ("{bot}: {word}", f"{BOT}: one"),
        ("{name}, {word}", "echo-1, one"),
        ('{"say": "{word}", "to": {}}', '{"say": "one", "to": {}}'),
        ("{} {0} {other} {word!r}", "{} {0} {other} {word!r}"),
    ],
)
def test_a_question_may_have_any_braces(ask, question):
    """Only `{word}`, `{bot}` and `{name}` are filled in, so a question may be JSON."""
    bot = parsed(ask=ask, answer="ok")

    assert bot.question("one", bot=BOT) == question
    assert parsed(answer=f"{ask} {{word}}").expected("one", bot=BOT) == f"{question} one"


C = "command: python bot.py\n"
WRONG = [
    ("comand: python", "1:1: comand: there is no such field; did you mean 'command'?"),
    ("name: x", "1:1: command: is missing"),
    ("command: 5", "1:10: command: input should be a valid string, not 5"),
    ("command: ''", "1:10: command: the bot's command is empty"),
    ('command: "python \'x"', "1:10: command: cannot read the bot's command"),
    ("command: no-such-program", "1:10: command: there is no program 'no-such-program' for the bot"),
    (C + "cwd: none", "2:6: cwd: there is no folder "),
    (C + "frob: 1", "2:1: frob: there is no such field; there are version, name, command"),
    (C + "env: {A: 5}", "2:10: env.A: input should be a valid string, not 5"),
    (C + "env: {A: '${OWNR}'}", "2:10: env.A: there is no variable ${OWNR}; did you mean 'OWNER'?"),
    (C + "ready: {log: x, http: y}", "2:8: ready: takes one condition, not 2"),
    (C + "ready: {secs: 1}", "2:9: ready.secs: there is no such field; did you mean 'seconds'?"),
    (C + "ask: hello", "1:1: answer: has {word}, but `ask` has none"),
    (C + "answer: ''", "2:9: answer: is empty"),
    (C + "promises: {fly: yes}", "2:17: promises.fly: there is no scenario 'fly'; there are answers, "),
    (C + "promises: {kickd: yes}", "promises.kickd: there is no scenario 'kickd'; did you mean 'kicked'?"),
    (C + "promises: {kicked: twice}", "2:20: promises.kicked: kicked cannot be 'twice'; it can be yes, no"),
    (C + "promises: {message-while-down: twice}", "it can be yes, once, unanswered, no"),
    (C + "promises: {default: once}", "2:21: promises.default: can be yes or no, not 'once'"),
    (C + "config: {a.yaml: {b: 1}}", "2:9: config: the text of a.yaml must be text; begin it with `a.yaml: |`"),
    (C + "config: {../a.yaml: x}", "2:9: config.path: '../a.yaml' is not a path inside the bot's folder"),
    (C + "config: [{path: /a, text: x}]", "2:17: config[0].path: '/a' is not a path inside the bot's folder"),
    (C + "config: [{path: a}]", "2:10: config[0]: a needs either `text` or `from`"),
    (C + "config: [{path: a, frm: b}]", "config[0].frm: there is no such field; did you mean 'from'?"),
    (C + "config: [{path: a, from: none}]", "none: cannot be read: No such file or directory"),
    (
        C + "config: {a: '${MATRIX_HOMESERVR}'}",
        "2:13: config.a: there is no variable ${MATRIX_HOMESERVR}; did you mean",
    ),
    (C + "key_store: '${MATRIX_STOR}'", "2:12: key_store: there is no variable ${MATRIX_STOR}; did you mean"),
    (C + "env: {'A=B': x}", "2:14: env.A=B: cannot be the name of an environment variable"),
    (C + "env: {'': x}", "cannot be the name of an environment variable"),
    (C + "env: {1: x}", "2:6: env: input should be a valid string, not 1"),
    (C + 'env: {A: "x\\0y"}', "2:10: has the character NUL"),
    (C + 'cwd: "a\\0b"', "2:6: has the character NUL"),
    (C + 'cwd: "a\\nb"', "there is no folder '"),
    (C + "cwd: 5", "2:6: cwd: must be a path, not 5"),
    (C + "config: x", "2:9: config: must be a mapping from paths to texts, or a list"),
    (C + "config: {a: x, a/b: y}", "2:21: config.a/b: 'a/b' and 'a' cannot both be files: one is the other's folder"),
    (C + "config: [{path: a, text: x}, {path: ./a, text: y}]", "2:30: config[1]: './a' is there already"),
    (C + "ready: {http: 'http://127.0.0.1:${PROT}/'}", "2:15: ready.http: there is no variable ${PROT}; did you mean"),
    (C + "ready: {http: 'http://127.0.0.1:${PORT}/'}", "2:15: ready.http: the bot is not told ${PORT}; mention it in"),
    (
        "command: ./bot.sh\nown_folder: yes",
        "1:10: command: there is no './bot.sh' in the bot's own new folder. Try: '${HERE}/bot.sh'",
    ),
    ("command: ${HERE}/none.sh\nown_folder: yes", "none.sh' for the bot"),
    (C + "- 1", "not YAML"),
    ("- 1", "must be a mapping with at least `command`"),
    ("{", "not YAML"),
    ("", "must be a mapping"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text.replace("\n", " ") or "empty" for text, _ in WRONG])
def test_a_mistake_in_the_file_is_one_line_with_its_place(tmp_path, text, says):
    """The line names the file, its line and column, and is misuse: exit code 2."""
    file = tmp_path / "bot.yaml"
    file.write_text(text)

    with pytest.raises(Misuse) as caught:
        load_promises(file)

    assert says in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_folder_of_the_bot_is_that_of_the_file(tmp_path):
    """A relative `cwd`, and a program with a relative path, are below the folder of the promises file."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "bot.sh").write_text("#!/bin/sh\n")
    (tmp_path / "bot.yaml").write_text("command: ./bot.sh\ncwd: src")

    with pytest.raises(Misuse, match=r"\./bot.sh of the bot is not executable. Try: chmod \+x"):
        load_promises(tmp_path / "bot.yaml")

    (tmp_path / "src" / "bot.sh").chmod(0o755)
    assert load_promises(tmp_path / "bot.yaml").cwd == tmp_path / "src"


def test_the_program_is_looked_for_where_the_bot_finds_it(tmp_path):
    """A bot may have a PATH of its own, with `${HERE}`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "my-own-bot").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "my-own-bot").chmod(0o755)
    (tmp_path / "bot.yaml").write_text("command: my-own-bot\nenv: {PATH: '${HERE}/bin:/usr/bin'}")

    assert load_promises(tmp_path / "bot.yaml").command == "my-own-bot"


def test_a_bot_in_its_own_folder_is_looked_for_before_a_run(tmp_path):
    """A file can be read where its bot is not installed. Running it there is one line."""
    (tmp_path / "bot.yaml").write_text("command: no-such-bot --x\nown_folder: yes")

    bot = load_promises(tmp_path / "bot.yaml")

    with pytest.raises(Misuse, match="there is no program 'no-such-bot' for the bot"):
        check_command(bot)
    with pytest.raises(Misuse, match="there is no program 'no-such-bot' for the bot"):
        what_to_judge(Options(promises=str(tmp_path / "bot.yaml")))


@pytest.mark.parametrize("told", ["env: {WEB: '${PORT}'}", "env: {PORT: '8080'}", "config: {a: '${PORT}'}"])
def test_the_port_of_ready_is_one_that_the_bot_is_told(tmp_path, told):
    """By its environment, or by a configuration file."""
    (tmp_path / "bot.yaml").write_text(f"{C}{told}\nready: {{http: 'http://127.0.0.1:${{PORT}}/'}}")

    assert load_promises(tmp_path / "bot.yaml").ready.http == "http://127.0.0.1:${PORT}/"


def test_configuration_files_are_texts_by_path(tmp_path):
    """A mapping, a list of texts, and a list of files beside the promises file mean the same."""
    (tmp_path / "template.ini").write_text("a = ${PORT}")
    forms = ["{sub/c.ini: 'a = ${PORT}'}", "[{path: sub/c.ini, text: 'a = ${PORT}'}]"]
    forms.append("[{path: sub/c.ini, from: template.ini}]")

    for form in forms:
        (tmp_path / "bot.yaml").write_text(f"{C}config: {form}")
        bot = load_promises(tmp_path / "bot.yaml")

        assert bot.files() == {"sub/c.ini": "a = ${PORT}"}
        assert bot.mentions("PORT")
        assert not bot.mentions("ROOM")


def test_manners_are_sets_and_rules(tmp_path):
    """A name that does not exist is refused with those that do."""
    file = tmp_path / "bot.yaml"
    file.write_text(f"{C}manners: [conduit, quiet-rooms-left-out]")
    assert load_promises(file).manners == ("conduit", "quiet-rooms-left-out")

    file.write_text(f"{C}manners: [polite]")
    with pytest.raises(Misuse, match="no such manners: 'polite'; there are conduit, tuwunel, strict, no-admin-api"):
        load_promises(file)


def test_a_room_version_needs_no_quotes(tmp_path):
    """YAML reads 11 as a number."""
    (tmp_path / "bot.yaml").write_text(f"{C}room_version: 11")

    assert load_promises(tmp_path / "bot.yaml").room_version == "11"


def test_the_schema_explains_every_field_and_accepts_what_the_program_accepts():
    """An editor that knows the schema shows each field's meaning, and underlines the same mistakes."""
    schema = json.loads(promises_schema())

    assert [name for name, field in schema["properties"].items() if "description" not in field] == []
    for text in (
        "config: {a: b}",
        "config: [{path: a, from: b}]",
        "promises: {kicked: no, answers: yes}",
        "several: yes",
    ):
        jsonschema.validate(yaml.safe_load(C + text), schema)
    for text in ("confg: {}", "config: {a: {b: c}}", "chat: everywhere"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(C + text), schema)
