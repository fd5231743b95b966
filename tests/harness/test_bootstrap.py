"""`python3 tasks.py` installs once, starts at once afterwards, and repeats an interrupted installation."""

from __future__ import annotations

import ast
import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PIP_SAYS = """\
Obtaining file:///checkout
Collecting matrix-nio[e2e]<0.27,>=0.26 (from matrix-greenroom==0.1.0)
  Downloading matrix_nio-0.26.0-py3-none-any.whl (183 kB)
  Building wheel for atomicwrites (pyproject.toml): started
Installing collected packages: sortedcontainers, matrix-nio
Successfully installed matrix-nio-0.26.0 sortedcontainers-2.4.0
"""
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

    def run(command, otherwise):
        module.ran.append(command)
        (venv / "bin").mkdir(parents=True)
        (venv / "bin/python").symlink_to(sys.executable)

    def start(command):
        module.ran.append(command)
        pip = f"import sys; sys.stdout.write({PIP_SAYS!r}); sys.exit({module.exit_code})"
        return subprocess.Popen([sys.executable, "-c", pip], stdout=subprocess.PIPE)

    monkeypatch.setattr(module, "exit_code", 0, raising=False)
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "start", start)
    return module


def test_a_fresh_checkout_gets_a_venv_and_the_pinned_project(bootstrap, capsys):
    """Each step is announced on stderr; stdout stays empty."""
    bootstrap.set_up()

    assert bootstrap.ran[0][1:3] == ["-m", "venv"]
    assert bootstrap.ran[1][-4:] == ["-c", "constraints.txt", "-e", ".[embedded,stage,dev]"]
    assert bootstrap.is_set_up()
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[len("tasks.py: 999 s  ") :] for line in said.err.splitlines()] == [
        "making .venv with Python " + ".".join(map(str, sys.version_info[:3])),
        "downloading 1 packages (the whole set-up takes about a minute the first time)",
        "installing 2 packages",
        "everything is in .venv",
    ]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_step_is_shown_in_one_line_that_is_rewritten(bootstrap, monkeypatch):
    """Each step takes the place of the last, is no wider than the terminal, and is gone before a line that stays."""
    screen = Terminal()
    monkeypatch.setattr(bootstrap.sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "50")

    bootstrap.set_up()

    assert "\x1b[Ktasks.py:   0 s  downloading 1 of 1: matrix-nio\r" in screen.getvalue()
    assert "\x1b[Ktasks.py:   0 s  building atomicwrites\r" in screen.getvalue()
    assert "\r\x1b[Ktasks.py:   0 s  installing 2 packages\n" in screen.getvalue()
    steps = [part for part in screen.getvalue().split("\x1b[K") if part.endswith("\r")]
    assert all(len(step) <= 50 for step in steps)
    assert screen.getvalue().endswith("everything is in .venv\n")


def test_without_a_terminal_a_long_phase_shows_a_sign_of_life_now_and_then(bootstrap, monkeypatch, capsys):
    """A step is a line of its own, but not each of them."""
    now = [0.0]
    monkeypatch.setattr(bootstrap.time, "time", lambda: now[0])
    progress = bootstrap.Progress()

    for now[0] in (5.0, 14.0, 16.0, 20.0, 40.0):
        progress.step(f"at {now[0]:.0f}")

    assert capsys.readouterr().err == "tasks.py:  16 s  at 16\ntasks.py:  40 s  at 40\n"


def test_a_silent_pip_does_not_stop_the_clock(bootstrap, monkeypatch):
    """Installing is one line of pip's and half a minute of silence: meanwhile there is an empty line a second."""
    silent = "import time; print('one', flush=True); time.sleep(1.5); print('two')"

    with subprocess.Popen([sys.executable, "-c", silent], stdout=subprocess.PIPE) as child:
        assert list(bootstrap.lines_of(child.stdout)) == ["one", "", "two"]


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
