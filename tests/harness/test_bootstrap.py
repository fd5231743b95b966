"""`python3 tasks.py` installs once, starts at once afterwards, and repeats an interrupted installation."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TASKS = Path(__file__).parents[2] / "tasks.py"


@pytest.fixture
def bootstrap(tmp_path, monkeypatch) -> ModuleType:
    """tasks.py as a script whose checkout is an empty folder; its commands are recorded and not run."""
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", TASKS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("nio==1")
    venv = tmp_path / ".venv"
    for name, value in {
        "HERE": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin/python",
        "STAMP": venv / ".greenroom-stamp",
    }.items():
        monkeypatch.setattr(module, name, str(value))
    monkeypatch.setattr(module, "ran", [], raising=False)

    def call(command, env, cwd):
        module.ran.append(command)
        if "venv" in command:
            (venv / "bin").mkdir(parents=True)
            (venv / "bin/python").symlink_to(sys.executable)
        return module.exit_code

    monkeypatch.setattr(module, "exit_code", 0, raising=False)
    monkeypatch.setattr(module.subprocess, "call", call)
    return module


def test_a_fresh_checkout_gets_a_venv_and_the_pinned_project(bootstrap, capsys):
    """Each step is announced on stderr; stdout stays empty."""
    bootstrap.set_up()

    assert bootstrap.ran[0][1:3] == ["-m", "venv"]
    assert bootstrap.ran[1][-4:] == ["-c", "constraints.txt", "-e", ".[embedded,dev]"]
    assert bootstrap.is_set_up()
    said = capsys.readouterr()
    assert said.out == ""
    assert "making .venv" in said.err
    assert "installing the project" in said.err


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_mean_a_new_set_up(bootstrap, name):
    """The stamp names the pins from which the environment was made."""
    bootstrap.set_up()
    (Path(bootstrap.HERE) / name).write_text("changed")

    assert not bootstrap.is_set_up()


def test_another_python_means_a_new_set_up(bootstrap, monkeypatch):
    """An environment that another Python made is made again."""
    bootstrap.set_up()
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 99, 0))

    assert not bootstrap.is_set_up()


def test_an_interrupted_installation_is_done_again(bootstrap, capsys):
    """The old stamp is removed before anything is changed, so an earlier success does not hide the failure."""
    bootstrap.set_up()
    bootstrap.exit_code = 1

    with pytest.raises(SystemExit):
        bootstrap.set_up()

    assert not bootstrap.is_set_up()
    assert "installation failed" in capsys.readouterr().err


def test_a_python_without_venv_prints_which_package_it_lacks(bootstrap, monkeypatch, capsys):
    """Debian splits ensurepip off into the package python3-venv."""
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    with pytest.raises(SystemExit):
        bootstrap.set_up()

    assert "apt install python3-venv" in capsys.readouterr().err


def test_an_old_python_gets_one_clear_line(bootstrap, monkeypatch, capsys):
    """Python 3.4 can parse the file, and an old Python prints which version is needed."""
    ast.parse(TASKS.read_text(), feature_version=(3, 4))
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 18))

    with pytest.raises(SystemExit):
        bootstrap.main()

    assert capsys.readouterr().err == (
        "tasks.py: this is Python 3.9.18; Greenroom needs 3.11 or newer. Try: python3.11 tasks.py ...\n"
    )


def test_an_environment_that_is_set_up_starts_at_once(bootstrap, monkeypatch):
    """A complete environment starts the task with the same arguments and runs nothing else."""
    bootstrap.set_up()
    bootstrap.ran.clear()
    became = []
    monkeypatch.setattr(bootstrap.os, "execv", lambda program, argv: became.append(argv))
    monkeypatch.setattr(bootstrap.os, "chdir", lambda path: None)
    monkeypatch.setattr(bootstrap.sys, "argv", ["tasks.py", "dev", "--detach"])

    bootstrap.main()

    assert bootstrap.ran == []
    assert became == [[bootstrap.PYTHON, "-m", "invoke", "dev", "--detach"]]
