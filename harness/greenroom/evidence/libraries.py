"""The libraries of a bot: the Python that its command runs is asked. Other programs are not run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

LIMIT_S = 3.0
MOST = 60
PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
SHEBANG_BYTES = 512
NOT_PYTHON = "not a Python program"
# Prints each distribution, those first that no other one requires. Runs on any Python from 3.8 on.
ASK = """
import importlib.metadata as m, json, platform, re
flat = lambda name: re.sub(r"[-_.]+", "-", name).lower()
found = {flat(d.metadata["Name"]): (d.metadata["Name"], d.version, d.requires or []) for d in m.distributions()
         if d.metadata["Name"]}
needed = {flat(re.match(r"[A-Za-z0-9._-]+", line)[0]) for _, _, lines in found.values() for line in lines
          if "extra ==" not in line}
print(json.dumps([platform.python_version(), sorted([name in needed, said, version]
                                                    for name, (said, version, _) in found.items())]))
"""


def libraries_of(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the Python and the libraries that a command line uses, a line each; else one line that says why not."""
    python = python_of(argv, env)
    if python is None:
        return [NOT_PYTHON]
    return list(_asked(python, env.get("PYTHONPATH", "")))


def python_of(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    """Return the path of the Python that a command line runs; None if it runs none, as far as can be seen."""
    program = shutil.which(argv[0], path=env.get("PATH")) if argv else None
    if program is None:
        return None
    if PYTHON.match(Path(program).name):
        return program
    return _by_first_line(program, env)


def _by_first_line(program: str, env: Mapping[str, str]) -> str | None:
    """Read a script's first lines: `#!/venv/bin/python`, `#!/usr/bin/env python3`, or pip's form for long paths."""
    try:
        with open(program, "rb") as script:
            first, second, *_ = [*script.read(SHEBANG_BYTES).decode(errors="replace").splitlines(), "", ""]
    except OSError:
        return None
    if not first.startswith("#!"):
        return None
    words = first[2:].split()
    if second.startswith("'''exec'"):
        words = shlex.split(second)[1:2]
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    python = shutil.which(words[0], path=env.get("PATH")) if words else None
    return python if python and PYTHON.match(Path(python).name) else None


@cache
def _asked(python: str, pythonpath: str) -> tuple[str, ...]:
    env = {"PATH": os.defpath, **({"PYTHONPATH": pythonpath} if pythonpath else {})}
    try:
        answer = subprocess.run(
            [python, "-c", ASK], env=env, cwd="/", capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
        version, found = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return (f"{python} did not say what it has: {type(error).__name__}",)
    lines = [f"python {version} ({python})", *(f"{name} {number}" for _, name, number in found[:MOST])]
    return (*lines, *([f"and {len(found) - MOST} more"] if len(found) > MOST else []))
