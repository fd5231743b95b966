"""`.greenroom/` is found from any folder of a project, is private, and its files are never half written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.owner import owning, read_owner, recorded_run, run_id, tidy
from greenroom.commands.dev.tools import reset, run_to_its_end, running_homeserver, show_logs
from greenroom.errors import AlreadyRunning, HarnessError, Misuse
from greenroom.homeserver.settings import DamagedSecrets, Secrets
from greenroom.processes.procfs import myself
from greenroom.processes.runs import MANIFEST, MARKER
from greenroom.spelling import command
from tests.harness.dev_state import STATE


@pytest.fixture
def folder(tmp_path) -> DevFolder:
    """The dev state of an empty project."""
    folder = DevFolder(tmp_path)
    folder.prepare()
    return folder


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git", "tasks.py", ".greenroom"])
def test_it_belongs_to_the_project_around_the_working_directory(tmp_path, mark):
    """The nearest folder above with a project file or dev state is the project."""
    (tmp_path / mark).mkdir()
    deep = tmp_path / "src" / "deep"
    deep.mkdir(parents=True)

    assert DevFolder.find(deep).project == tmp_path


def test_it_is_made_private_again_if_somebody_opened_it(folder):
    """It has passwords in it, so only its owner may read it."""
    folder.root.chmod(0o755)

    folder.prepare()

    assert folder.root.stat().st_mode & 0o777 == 0o700


def test_the_error_names_what_cannot_be_used(folder):
    """Not the folder around it."""
    folder.log("bot").parent.rmdir()
    folder.log("bot").parent.touch()

    with pytest.raises(Misuse, match=r"\.greenroom/logs cannot be used: File exists"):
        folder.prepare()


def test_a_symlink_in_its_place_is_refused(tmp_path):
    """A symbolic link could lead writing and deleting to another folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".greenroom").symlink_to("elsewhere")

    with pytest.raises(Misuse, match="is not a folder that belongs to you"):
        DevFolder(tmp_path).prepare()


def test_a_shell_and_greenroom_read_the_same_values_from_dev_env(folder):
    """Quotes, spaces and shell characters in a password are kept."""
    wanted = {"MATRIX_PASSWORD": "a 'b' $HOME `c` \\ #d", "MATRIX_USER_ID": "@bot:greenroom.test"}
    folder.write_state(STATE, wanted)

    script = (
        f'set -a; . {folder.env_file}; exec "{sys.executable}" -c "import os; print(os.environ[\'MATRIX_PASSWORD\'])"'
    )
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    assert shell.stdout.rstrip("\n") == wanted["MATRIX_PASSWORD"]
    assert folder.recorded_environment() == wanted


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_dev_env_that_is_empty_or_gone_is_damage_while_something_runs(folder, text):
    """A bot started without these variables would only say that they are not set."""
    folder.write_state(STATE, {})
    folder.env_file.unlink()
    if text is not None:
        folder.env_file.write_text(text)

    with pytest.raises(HarnessError, match=r"dev.env is damaged \(it is empty or gone\); it is written again by: "):
        folder.recorded_environment()
    folder.state_file.unlink()
    assert folder.recorded_environment() == {}


def test_a_deleted_working_directory_is_one_line(tmp_path, monkeypatch):
    """The shell still names it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(Misuse, match="the working directory is gone"):
        DevFolder.find()


def test_explicit_variables_win_over_the_recorded_ones(folder):
    """A MATRIX_HOMESERVER of the environment is used instead of the dev homeserver's."""
    folder.write_state(STATE, {"MATRIX_HOMESERVER": "http://dev", "MATRIX_USER_ID": "@bot:greenroom.test"})

    environment = folder.environment({"MATRIX_HOMESERVER": "http://mine"})

    assert environment == {"MATRIX_HOMESERVER": "http://mine", "MATRIX_USER_ID": "@bot:greenroom.test"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no dev environment runs in"),
        ("{", "is damaged"),
        ('{"version": 2}', "was written by another version of Greenroom"),
        ("[]", "was written by another version of Greenroom"),
        ('{"version": 1}', r"is damaged \(homeserver is missing\)"),
        (json.dumps({**STATE, "bot": {"log": "x"}}), r"is damaged \(bot.user_id is missing\)"),
        (json.dumps({**STATE, "people": [{}]}), r"is damaged \(people or env_file is missing\)"),
    ],
)
def test_a_state_file_that_cannot_be_used_is_an_error_with_a_command_to_try(folder, text, line):
    """A missing, damaged or foreign `dev.json` is reported in one line."""
    if text is not None:
        folder.state_file.write_text(text)

    with pytest.raises(HarnessError, match=line) as caught:
        folder.state()

    assert f"try: {command('d')}" in str(caught.value)


def test_a_folder_in_the_place_of_the_state_file_is_damage(folder):
    """It is reported like any other damage, so that `status --json` prints its document."""
    folder.state_file.mkdir()

    with pytest.raises(HarnessError, match=r"dev.json is damaged \(.*Is a directory"):
        folder.state()


def test_starting_afresh_keeps_snapshots_and_what_logins_in_clients_need(folder):
    """`--fresh` deletes the data, the bot's state and the logs, but not the homeserver's secrets and port."""
    homeserver = [folder.homeserver / name for name in ("homeserver.db", "media_store/one", "port")]
    for path in (*homeserver, folder.bot / "x.db", folder.root / "snapshots" / "one"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Secrets.kept_in(folder.homeserver / "secrets.json")
    folder.write_state(STATE, {})

    folder.wipe()

    assert sorted(path.name for path in folder.root.iterdir()) == [".gitignore", "homeserver", "snapshots"]
    assert sorted(path.name for path in folder.homeserver.iterdir()) == ["port", "secrets.json"]


def test_starting_afresh_makes_new_secrets_where_they_are_damaged(folder):
    """Damaged secrets name `--fresh` as their cure, so it removes them."""
    folder.homeserver.mkdir()
    path = folder.homeserver / "secrets.json"
    path.write_text('{"macaroon_secret_key": 1}')
    with pytest.raises(DamagedSecrets, match=rf"is damaged \(.*\).*start over: {re.escape(command('dev --fresh'))}"):
        Secrets.kept_in(path)

    folder.wipe()

    assert not path.exists()


def test_damaged_secrets_are_named_by_who_needs_them_for_passwords(folder):
    """`seed` says which file is damaged. Without the file there is no secret."""
    folder.write_state({**STATE, "homeserver": {**STATE["homeserver"], "kind": "synapse"}}, {})
    assert running_homeserver(folder).registration is None
    folder.homeserver.mkdir()
    (folder.homeserver / "secrets.json").write_text("{")

    with pytest.raises(DamagedSecrets, match=r"secrets\.json is damaged"):
        running_homeserver(folder)


@pytest.mark.parametrize(
    ("deleted", "line"),
    [
        (
            "homeserver.db",
            r"the homeserver's database \S+homeserver.db is gone, and what the bot remembers belongs to it",
        ),
        ("secrets.json", r"\S+secrets.json is gone, and the passwords follow from it"),
    ],
)
def test_nothing_is_made_anew_for_a_seeded_homeserver(folder, deleted, line):
    """New secrets would print passwords that no account has, and a new database has no accounts."""
    folder.homeserver.mkdir()
    folder.check_data("homeserver.db")  # before the first start nothing is there
    for name in ("homeserver.db", "secrets.json", "seeded-qa"):
        (folder.homeserver / name).write_text("x")
    folder.check_data("homeserver.db")
    (folder.homeserver / deleted).unlink()

    with pytest.raises(HarnessError, match=rf"{line}.*start over: {re.escape(command('dev --fresh'))}"):
        folder.check_data("homeserver.db")


@pytest.mark.parametrize("text", ["MATRIX_PASSWORD='half", "garbage", "\xff=1 ="])
def test_a_damaged_dev_env_is_an_error_with_a_command_to_try(folder, text):
    """`dev` writes it again."""
    folder.env_file.write_text(text)

    with pytest.raises(HarnessError, match=rf"dev.env is damaged \(.*\); .*{re.escape(command('down'))}, then "):
        folder.recorded_environment()


@pytest.mark.parametrize("manifest", [None, "garbage", "{}"])
def test_processes_are_found_without_their_manifest(folder, manifest):
    """A damaged or deleted run.json hides nothing: the id of the run follows from the folder."""
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: run_id(folder)})
    try:
        if manifest is not None:
            (folder.root / MANIFEST).write_text(manifest)
        run = recorded_run(folder)

        assert run is not None
        assert [known.pid for known in run.living()] == [child.pid]
        assert tidy(folder) == [child.pid]
        assert child.wait(5) == -signal.SIGTERM
    finally:
        child.kill()
    assert recorded_run(DevFolder(folder.project / "elsewhere")) is None


def test_the_folder_keeps_itself_out_of_a_repository(folder):
    """`git status` of a project does not show it, whatever the project's own .gitignore says."""
    subprocess.run(["git", "init", "-q", folder.project], check=True)

    shown = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=folder.project,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout == ""


def test_only_one_dev_runs_in_a_project_and_the_error_names_its_process(folder):
    """The lock is free again when its owner ends."""
    with owning(folder):
        assert read_owner(folder) == myself()
        with (
            pytest.raises(
                AlreadyRunning, match=rf"already \(pid {os.getpid()}\); .*stop it: {re.escape(command('down'))}"
            ),
            owning(folder),
        ):
            pass
    assert read_owner(folder) is None
    with owning(folder):
        pass


@pytest.fixture
def ran(monkeypatch):
    """The modules that would have been run, with their arguments."""
    commands = []
    monkeypatch.setattr("greenroom.commands.dev.tools.run_module", lambda _, arguments: commands.append(arguments) or 0)
    return commands


def test_reset_of_both_is_one_run(folder, ran):
    """Both modes go to one run of the reset tool, which decides their order."""
    reset(folder, local=True, server=True)

    assert ran == [["greenroom_reset", "--mode", "server-leave-forget", "--mode", "local-only"]]


def test_the_host_of_a_remote_dev_homeserver_is_confirmed_automatically(folder, ran, monkeypatch):
    """A host that differs from the recorded one still has to be confirmed with --i-know-this-is."""
    folder.env_file.write_text("MATRIX_HOMESERVER=http://192.0.2.7:8008\n")

    reset(folder, local=False, server=True)
    monkeypatch.setenv("MATRIX_HOMESERVER", "http://192.0.2.8:8008")
    reset(folder, local=False, server=True)

    assert ran[0][3:] == ["--i-know-this-is", "192.0.2.7"]
    assert ran[1][3:] == []


@pytest.mark.parametrize("local", [True, False])
def test_a_reset_is_local_by_default(folder, ran, local):
    """`invoke reset` without `--local` and `--server` is `invoke reset --local`."""
    reset(folder, local=local, server=False)

    assert ran == [["greenroom_reset", "--mode", "local-only"]]


def test_reset_passes_its_flags_on(folder, ran):
    """--dry-run, --yes and --json reach the reset tool."""
    reset(folder, local=True, server=False, dry_run=True, yes=True, as_json=True)

    assert ran == [["greenroom_reset", "--mode", "local-only", "--dry-run", "--yes", "--json"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tool_may_tidy_up_after_a_signal(tmp_path, number):
    """After SIGINT or SIGTERM the parent waits until the tool has ended; a reset signs its device out then."""
    tidy = tmp_path / "tidy"
    code = (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_): time.sleep(0.6); pathlib.Path(sys.argv[1]).touch(); sys.exit(7)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "number = int(sys.argv[2]); time.sleep(0.2)\n"
        "os.kill(os.getppid(), number)\n"
        "if number == signal.SIGINT: os.kill(os.getpid(), number)  # as a terminal does it\n"
        "time.sleep(30)\n"
    )

    ended = run_to_its_end([sys.executable, "-c", code, str(tidy), str(int(number))], cwd=tmp_path, env=os.environ)

    assert (ended, tidy.exists()) == (7, True)


def test_logs_are_shown_with_their_source(folder, capsys):
    """Both logs are shown, or the named one; without any log there is an error."""
    with pytest.raises(HarnessError, match="there is no log in"):
        show_logs(folder, "")
    folder.log("homeserver").write_text("listening\n")
    folder.log("bot").write_text("live\n")

    show_logs(folder, "")
    show_logs(folder, "bot")

    assert capsys.readouterr().out == "homeserver | listening\nbot        | live\nbot        | live\n"
