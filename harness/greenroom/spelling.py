"""Spell a command as the reader of a hint typed the last one: `python3 tasks.py`, `invoke` or `greenroom`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SCRIPTS = {"invoke": "invoke", "inv": "invoke", "greenroom": "greenroom"}


def command(words: str, *, typed: str | None = None) -> str:
    """Return a command line that works for the reader, for example `command("down")`.

    `typed` is the program that runs now (default: this one). `tasks.py` starts invoke as a module; people start its
    script. Any other program, pytest for instance, has no task of ours to repeat, so the installed command is named.
    """
    return f"{_program(sys.argv[0] if typed is None else typed)} {words}"


def _program(typed: str) -> str:
    path = Path(typed)
    if path.name == "__main__.py" and path.parent.name == "invoke":
        return "python3 tasks.py"
    script = SCRIPTS.get(path.name, "greenroom")
    if shutil.which(script) is not None:
        return script
    if path.name in SCRIPTS:
        return typed  # called by its path: `.venv/bin/greenroom`
    return f"{sys.executable} -m greenroom"
