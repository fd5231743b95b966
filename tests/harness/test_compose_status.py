"""What `compose status` says of a stack, and what the task `compose` refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from greenroom.commands.compose.command import ComposeOptions, switch
from greenroom.commands.compose.files import Stack
from greenroom.commands.compose.parts import Part, Parts
from greenroom.commands.compose.record import NAME, Record, read_record
from greenroom.commands.compose.stack import down
from greenroom.commands.compose.status import document, exit_code, status
from greenroom.commands.dev.console import duration
from greenroom.commands.dev.folder import DevFolder
from greenroom.errors import CannotTell, HarnessError, Misuse
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.container.log import started_at
from greenroom.people.accounts import Account

STARTED = "2026-11-21T20:31:18.123456789Z"
NOW = datetime(2026, 11, 21, 20, 36, 18, 123456, tzinfo=UTC).timestamp()
RECORD = Record("http://127.0.0.1:8008", ("postgres",), "qa", (("@alice:greenroom.test", "secret"),))


def part(service: str, state: str = "running", health: str = "", code: int = 0) -> Part:
    return Part(service, f"stack_{service}_1", state, health, code, STARTED)


def container(service: str, state: str) -> SimpleNamespace:
    attrs = {"State": {"Status": state, "Health": None, "ExitCode": 0, "StartedAt": STARTED}}
    return SimpleNamespace(labels={"com.docker.compose.service": service}, name=f"stack_{service}_1", attrs=attrs)


def parse(action: str, part: str = "", port: str = "8008") -> ComposeOptions:
    return ComposeOptions.parse(action, part, profiles=[], port=port)


@pytest.fixture
def no_engine(monkeypatch):
    """An address at which no container engine listens."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


@pytest.mark.parametrize("volumes", [True, False])
def test_starting_over_forgets_people_also_without_the_variables_file(tmp_path, no_engine, volumes):
    """Their accounts are deleted with the data. A plain `down` keeps both."""
    folder = DevFolder(tmp_path)
    stack = folder.root / "compose"
    stack.mkdir(parents=True)
    RECORD.write(stack)

    down(folder, volumes=volumes)

    assert stack.exists() is not volumes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", ""), "up, down, status, start, stop, restart"),
        (("reload", ""), "not 'reload'"),
        (("restart", "database"), "there are homeserver and bot"),
        (("up", "bot"), "takes no part"),
        (("up", "", "many"), "many"),
    ],
)
def test_bad_input_is_refused_in_one_line(given, said):
    """An unknown action or part and a part where none fits are misuse."""
    with pytest.raises(Misuse) as caught:
        parse(*given)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_may_be_named_or_left_out():
    """`restart bot` means the bot, `restart` everything."""
    assert parse("restart", "bot").part == "bot"
    assert parse("restart").part == ""


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([part("homeserver"), part("bot")], 0),
        ([part("homeserver"), part("bot", health="starting")], 0),
        ([part("postgres"), part("homeserver"), part("bot", "exited")], 1),
        ([part("homeserver"), part("bot", "restarting")], 1),
        ([part("homeserver")], 1),
        ([part("homeserver", "exited"), part("bot", "exited")], 3),
        ([], 3),
    ],
)
def test_the_exit_code_says_whether_the_stack_runs(parts, code):
    """0 means that every part runs, 1 that one does not, 3 that none does."""
    assert exit_code(parts) == code


def test_the_parts_come_in_the_order_in_which_they_start():
    """Whatever the engine's order, a part comes after those that it needs."""
    made = [container("bot", "running"), container("homeserver", "running"), container("postgres", "exited")]
    engine = Engine(SimpleNamespace(containers=SimpleNamespace(list=lambda **_: made)), "", "")

    now = Parts(engine, "stack").now()

    assert [(each.service, each.state) for each in now] == [
        ("postgres", "exited"),
        ("homeserver", "running"),
        ("bot", "running"),
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (part("bot", health="healthy"), "running, healthy, up 5 min"),
        (part("homeserver", health="starting"), "running, up 5 min"),
        (part("web"), "running, up 5 min"),
        (part("bot", "exited", code=4), "exited, exit code 4"),
        (part("bot", "restarting", code=1), "restarting, exit code 1"),
    ],
)
def test_a_part_is_described_with_its_state_and_uptime(state, words):
    """A running part has a health and an uptime, another one its exit code."""
    assert state.words(NOW) == words


@pytest.mark.parametrize("text", [STARTED, STARTED.replace("T20", "T21").replace("Z", "+01:00")])
def test_the_time_of_a_start_may_have_any_zone(text):
    """Docker writes UTC, Podman its own zone."""
    container = SimpleNamespace(attrs={"State": {"StartedAt": text}}, reload=lambda: None)

    assert started_at(container) == NOW - 300
    assert Part("bot", "", "running", "", 0, text).uptime_s(NOW) == 300


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7500, "2 h 5 min"), (86400 * 3 + 7200, "3 d 2 h")],
)
def test_a_length_of_time_is_told_in_its_largest_units(seconds, words):
    """Nobody needs the seconds of a stack that runs for days."""
    assert duration(seconds) == words


def test_the_document_has_all_that_the_overview_shows():
    """`--json` has the URL, the containers with state and uptime, the people with passwords, and the blueprint."""
    found = document(RECORD, [part("homeserver", health="healthy"), part("bot", "exited", code=4)], NOW)

    assert found["running"] is False
    assert found["homeserver"] == {"url": "http://127.0.0.1:8008", "server_name": "greenroom.test"}
    assert found["bot"] == {"user_id": "@bot:greenroom.test"}
    assert found["people"] == [{"user_id": "@alice:greenroom.test", "password": "secret"}]
    assert (found["seed"], found["profiles"]) == ("qa", ["postgres"])
    assert [(each["service"], each["state"], each["uptime_s"]) for each in found["containers"]] == [
        ("homeserver", "running", 300.0),
        ("bot", "exited", 0.0),
    ]


def test_nothing_runs_where_no_stack_was_made(tmp_path, capsys, no_engine):
    """Without a stack, also without an engine, the exit code is 3, and `--json` prints a document all the same."""
    stack = Stack(tmp_path / "compose")

    said, printed = status(stack, "stack"), capsys.readouterr().out
    code, text = status(stack, "stack", as_json=True), capsys.readouterr().out

    assert (said, code) == (3, 3)
    assert "no stack runs here; start it: " in printed
    assert json.loads(text)["running"] is False


def test_an_engine_that_does_not_answer_is_not_taken_for_a_stopped_stack(tmp_path, capsys, no_engine):
    """A stack with files is unknown then: an error, and a document that says so."""
    stack = Stack(tmp_path / "compose")
    stack.folder.mkdir()
    (stack.folder / "compose.env").touch()

    with pytest.raises(CannotTell, match="start Docker") as caught:
        status(stack, "stack")
    code = status(stack, "stack", as_json=True)

    assert (code, caught.value.exit_code) == (3, 3)
    found = json.loads(capsys.readouterr().out)
    assert found["running"] is None
    assert "start Docker" in found["problem"]


def test_a_record_is_private_and_comes_back_as_it_was(tmp_path):
    """What `up` notes, `status` reads. It holds passwords, so only its owner can."""
    RECORD.write(tmp_path)

    assert read_record(tmp_path) == RECORD
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_people_of_an_earlier_blueprint_stay_and_the_bot_is_none_of_them():
    """Their accounts are still on the homeserver. The bot is listed as the bot."""
    accounts = [Account("@bot:greenroom.test", "hidden"), Account("@carol:greenroom.test", "new")]

    seeded = RECORD.seeded("mine", accounts)

    assert seeded.seed == "mine"
    assert seeded.people == (("@alice:greenroom.test", "secret"), ("@carol:greenroom.test", "new"))


@pytest.mark.parametrize(
    "text", ["", "garbage", "[]", "{}", '{"version": 9}', '{"version": 1}', '{"version": 1, "people": 3}']
)
def test_a_damaged_record_is_one_line_with_a_cure(tmp_path, text):
    """Each damage is told without a traceback, with the file and the command that writes it anew."""
    (tmp_path / NAME).write_text(text)

    with pytest.raises(HarnessError) as caught:
        read_record(tmp_path)

    assert str(tmp_path / NAME) in str(caught.value)
    assert "compose up" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_record_does_not_hide_what_runs(tmp_path, capsys, no_engine):
    """What runs is asked of the engine. The damage is told beside it, as text and in the document."""
    stack = Stack(tmp_path)
    (tmp_path / NAME).write_text("garbage")

    assert status(stack, "stack") == 3
    printed = capsys.readouterr().out
    assert status(stack, "stack", as_json=True) == 3
    found = json.loads(capsys.readouterr().out)

    assert "no stack runs here" in printed
    assert "stack.json is damaged" in printed
    assert found["running"] is False
    assert "stack.json is damaged" in found["problem"]


def test_damaged_secrets_are_one_line_with_the_stacks_own_cure(tmp_path):
    """`dev --fresh` would not help: the stack has secrets of its own."""
    (tmp_path / "secrets.json").write_text("garbage")

    with pytest.raises(HarnessError, match=r"secrets.json is damaged.*compose down --volumes") as caught:
        Stack(tmp_path).secrets()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_a_stack_that_is_not_there_cannot_be_switched(tmp_path, action):
    """The error names the command that makes one."""
    engine = Engine(SimpleNamespace(containers=SimpleNamespace(list=lambda **_: []), close=lambda: None), "", "")

    with pytest.raises(HarnessError, match=r"there is no stack in .*compose up"):
        switch(DevFolder(tmp_path), action, "bot", engine=engine)
