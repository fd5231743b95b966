"""CONTRIBUTING.md names commands, files and functions that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from invoke.parser import Parser

from greenroom.commands.tasks import namespace

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
COMMANDS = re.findall(r"^ +python3 tasks\.py (.+)$", TEXT, re.MULTILINE)


def test_commands_were_found():
    """Otherwise the next test checks nothing."""
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_a_task_options_and_files_that_exist(command):
    """The tasks accept each command, and every path for pytest is there."""
    (context,) = Parser(contexts=namespace.to_contexts()).parse_argv(shlex.split(command))

    words = str(context.as_kwargs.get("args") or "").split()
    assert [word for word in words if word.startswith("tests/") and not (ROOT / word).exists()] == []


def test_every_path_in_the_text_exists():
    """In each cell and sentence, a word in backquotes with a slash is a file or a folder of this repository."""
    paths = {word for word in re.findall(r"`([\w./-]+)`", TEXT) if "/" in word}

    assert len(paths) > 20
    missing = {path for path in paths if not (ROOT / path).exists()}
    folders_of_tests = {f"{name}/" for name in ("bot", "reset", "harness", "e2e", "browser", "gallery", "zoo", "bench")}
    assert missing - folders_of_tests == set()
    assert all((ROOT / "tests" / name).is_dir() for name in folders_of_tests)
