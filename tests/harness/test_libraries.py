"""The libraries of a bot are asked from the Python that its command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from greenroom.evidence import libraries
from greenroom.evidence.libraries import NOT_PYTHON, libraries_of, python_of

PATH = {"PATH": os.environ["PATH"]}


def script(folder: Path, name: str, text: str) -> str:
    """An executable file."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def package(tmp_path) -> Path:
    """A folder with two distributions, one of which needs the other."""
    for name, needs in (("my-bot", "Requires-Dist: My_Framework (>=1)\n"), ("my.framework", "")):
        info = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{needs}")
    return tmp_path


def test_the_libraries_of_the_bots_own_python_are_listed(package):
    """What nothing else requires comes first."""
    found = libraries_of([sys.executable, "bot.py"], {**PATH, "PYTHONPATH": str(package)})

    assert found[0].startswith(f"python {sys.version.split()[0]} (")
    assert "my-bot 1.5" in found
    if "my.framework 1.5" in found:  # of very many distributions the last are left out
        assert found.index("my-bot 1.5") < found.index("my.framework 1.5")
    assert len(found) <= libraries.MOST + 2


@pytest.mark.parametrize(
    "first",
    [
        f"#!{sys.executable}\n",
        f"#!{sys.executable} -I\n",
        "#!/usr/bin/env python3\n",
        f"#!/bin/sh\n'''exec' {sys.executable} \"$0\" \"$@\"\n' '''\n",
        f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_a_script_names_its_python(tmp_path, first):
    """Also in the forms that pip writes."""
    found = python_of([script(tmp_path, "my-bot", f"{first}import my_bot\n")], PATH)

    assert found is not None
    assert Path(found).name.startswith("python")


def test_the_program_is_looked_up_on_the_bots_path(tmp_path):
    """The PATH of the bot, not that of the harness."""
    script(tmp_path, "only-here", f"#!{sys.executable}\n")

    assert python_of(["only-here"], {"PATH": str(tmp_path)}) == sys.executable
    assert python_of(["only-here"], PATH) is None


@pytest.mark.parametrize("text", ["#!/bin/sh\nexec node bot.js\n", "\x7fELF\0\0", ""])
def test_other_programs_are_not_run(tmp_path, text):
    """No `--version` of an unknown program is tried: it might start."""
    (tmp_path / "ran").unlink(missing_ok=True)
    assert libraries_of([script(tmp_path, "bot", text)], PATH) == [NOT_PYTHON]
    assert libraries_of(["no-such-program"], PATH) == [NOT_PYTHON]


@pytest.mark.parametrize("body", ["sleep 5", "echo nonsense", "exit 3"])
def test_a_python_that_does_not_answer_costs_one_line(tmp_path, monkeypatch, body):
    """There is a time limit, and no failure."""
    monkeypatch.setattr(libraries, "LIMIT_S", 0.2)
    (line,) = libraries_of([script(tmp_path, "python3", f"#!/bin/sh\n{body}\n")], PATH)

    assert "did not say what it has" in line
