"""The command line: the same tasks for `invoke` and `greenroom`, listed quickly, and two fixes of invoke's parser."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest
from invoke.exceptions import Exit
from invoke.parser import Parser

from greenroom.commands import reporting
from greenroom.commands.tasks import namespace
from greenroom.errors import Misuse

PROMISED = {"dev", "seed", "reset", "status", "down", "doctor", "logs", "test", "e2e", "lint", "types"}


def parse(*argv: str):
    return Parser(contexts=namespace.to_contexts()).parse_argv(list(argv))


def test_every_promised_task_is_there_with_a_one_line_help():
    """Every task that the documents promise exists and has a docstring."""
    assert namespace.task_names.keys() >= PROMISED
    for name in PROMISED:
        assert namespace[name].__doc__, name


@pytest.mark.parametrize(("argv", "name"), [(["seed"], "qa"), (["seed", "mine.yaml"], "mine.yaml")])
def test_a_blueprint_may_be_named_or_left_out(argv, name):
    """`seed` without a name means `seed qa`, although invoke has no optional positional arguments."""
    (context,) = parse(*argv)

    assert context.as_kwargs["name"] == name


@pytest.mark.parametrize("argv", [["seed", "large"], ["dev", "--seed", "large"]])
def test_each_variable_of_a_blueprint_has_a_set_of_its_own(argv):
    """`--set` may be given several times, or not at all."""
    assert parse(*argv)[0].as_kwargs["set"] == []
    assert parse(*argv, "--set", "rooms=5", "--set", "people=2")[0].as_kwargs["set"] == ["rooms=5", "people=2"]


def test_flags_may_stand_on_either_side_of_the_name():
    """`seed --dry-run qa` and `seed qa --dry-run` mean the same."""
    assert parse("seed", "--dry-run", "mine")[0].as_kwargs == parse("seed", "mine", "--dry-run")[0].as_kwargs


@pytest.mark.parametrize("argv", [["dev", "--frob"], ["frob"], ["dev", "--port"]])
def test_bad_usage_is_one_line_and_exit_code_2(argv):
    """An unknown task, an unknown option or a missing value is misuse, for which invoke itself exits with 1."""
    with pytest.raises(Exit) as caught:
        parse(*argv)

    assert caught.value.code == 2
    assert "\n" not in caught.value.message


def test_listing_the_tasks_imports_nothing_heavy():
    """Listing the tasks and loading the pytest plugin need neither nio nor aiohttp nor pydantic."""
    code = "import sys, greenroom.commands.tasks, greenroom.plugin; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"nio", "aiohttp", "pydantic", "rich", "docker", "synapse"} & set(modules)


def test_a_tool_is_not_taken_from_the_working_directory(tmp_path, monkeypatch, capfd):
    """`greenroom lint` in a project that has a `ruff.py` runs ruff."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "this.py").write_text("print('a file of the project')\n")

    assert reporting.run_tool("this", "") == 0
    assert "The Zen of Python" in capfd.readouterr().out


def test_the_e2e_task_passes_homeserver_and_backend_to_the_plugin(monkeypatch):
    """The task's own options are short; pytest's carry the name of the plugin."""
    ran = []
    monkeypatch.setattr(reporting, "run_tool", lambda *command: ran.append(command) or 0)

    namespace["e2e"].body(None, backend="process", homeserver="conduit", args="-x")

    assert ran == [("pytest", "-m e2e --greenroom-backend process --greenroom-homeserver conduit -x")]


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device. Try: free some space on", 1),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied. Try: give yourself access", 1),
        (ExceptionGroup("", [Misuse("one line")]), "one line", 2),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(capsys, error, message, code):
    """Ctrl-C, the machine's refusals and our own errors, also from a task group."""

    def fails() -> int:
        raise error

    with pytest.raises(SystemExit) as ended:
        reporting.reported(fails)()

    said = capsys.readouterr().err
    assert ended.value.code == code
    assert said.startswith(f"greenroom: {message}")
    assert said.count("\n") == 1


IN_EXEC = "exec('raise KeyboardInterrupt')"
IN_SET_NAME = """
class Attribute:
    def __set_name__(self, owner, name):
        raise KeyboardInterrupt

class Owner:
    attribute = Attribute()
"""


@pytest.mark.parametrize("work", [IN_EXEC, IN_SET_NAME])
def test_ctrl_c_while_a_class_is_made_is_130_too(tmp_path, work):
    """After the first, `python -m` would end itself with SIGINT; the second is wrapped into a RuntimeError."""
    body = "".join(f"    {line}\n" for line in work.splitlines())
    (tmp_path / "task.py").write_text(
        f"from greenroom.commands.reporting import reported\ndef work():\n{body}\nreported(work)()\n"
    )

    ended = subprocess.run([sys.executable, "-m", "task"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (130, "greenroom: interrupted\n")


def test_what_nobody_foresaw_is_one_line_with_a_report(capsys, tmp_path, monkeypatch):
    """The report is private and has the traceback and the command."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fails() -> int:
        raise KeyError("surprise")

    with pytest.raises(SystemExit):
        reporting.reported(fails)()

    said = capsys.readouterr().err
    (report,) = tmp_path.iterdir()
    assert said == f"greenroom: KeyError: 'surprise'. This should not happen; please report it with {report}\n"
    assert 'raise KeyError("surprise")' in report.read_text()
    assert report.stat().st_mode & 0o777 == 0o600
