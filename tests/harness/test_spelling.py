"""Hints name commands in the form that their reader typed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.spelling import command

HARNESS = Path(__file__).parents[2] / "harness/greenroom"


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put `invoke` and `greenroom` on an otherwise empty PATH, as an active virtualenv does."""
    for name in ("invoke", "greenroom"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/checkout/.venv/lib/python3.11/site-packages/invoke/__main__.py", "python3 tasks.py down"),
        ("/checkout/.venv/bin/invoke", "invoke down"),
        ("/checkout/.venv/bin/inv", "invoke down"),
        ("/checkout/.venv/bin/greenroom", "greenroom down"),
        ("/site-packages/greenroom/__main__.py", "greenroom down"),
        ("/checkout/.venv/bin/pytest", "greenroom down"),
    ],
)
def test_a_hint_has_the_form_that_its_reader_typed(on_path, typed, hint):
    """The program that runs tells how it was started."""
    assert command("down", typed=typed) == hint


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (".venv/bin/greenroom", ".venv/bin/greenroom down"),
        (".venv/bin/invoke", ".venv/bin/invoke down"),
        ("pytest", f"{sys.executable} -m greenroom down"),
    ],
)
def test_a_hint_works_where_no_script_is_on_the_path(tmp_path, monkeypatch, typed, hint):
    """A command that the reader's shell cannot find is no hint."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert command("down", typed=typed) == hint


def test_the_hint_of_a_real_command_can_be_typed(tmp_path):
    """`python -m greenroom logs` where nothing runs names a `dev` that this shell can start."""
    (tmp_path / "pyproject.toml").touch()
    empty = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    line = [sys.executable, "-m", "greenroom"]

    answer = subprocess.run([*line, "logs"], cwd=tmp_path, env=empty, capture_output=True, text=True, check=False)

    assert f"try: {sys.executable} -m greenroom dev" in answer.stderr


def test_no_message_of_the_harness_names_one_form_only():
    """`invoke NAME` in a message would be wrong for whoever typed `python3 tasks.py` or `greenroom`."""
    found = [
        f"{file.name}: {text}"
        for file in HARNESS.rglob("*.py")
        for text in _strings_but_docstrings(ast.parse(file.read_text()))
        if re.search(r"invoke (?!TASK)[a-z-]", text)
    ]

    assert found == []


def _strings_but_docstrings(tree: ast.Module) -> Iterator[str]:
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value
