"""What another user of the same machine can do to a dev environment: nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.least_bots import LIVE_BOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
NOBODY = 65534
CLIENT = "/_matrix/client/v3"
REQUEST = """
import json, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"Content-Type": "application/json"})
try:
    answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as refused:
    answer = refused
print(json.dumps([answer.status, json.load(answer).get("errcode")]))
"""


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who owns nothing here."""
    return subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
    )


@cache
def their_python() -> str:
    """Return a Python that every user can run; ours may lie in a private folder. Skip the test if there is none."""
    for python in (sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"):
        with suppress(OSError):
            if as_nobody(python, "-I", "-c", "").returncode == 0:
                return python
    pytest.skip("another user can run no Python here")


def post(url: str, body: Any) -> tuple[int, str]:
    """Send a request as that user. Return the status and the errcode."""
    done = as_nobody(their_python(), "-I", "-c", REQUEST, url, json.dumps(body))
    assert done.returncode == 0, done.stderr
    status, errcode = json.loads(done.stdout)
    return status, errcode


def login(name: str, password: str) -> dict[str, Any]:
    """Return the body of a login."""
    who = {"type": "m.id.user", "user": name}
    return {"type": "m.login.password", "identifier": who, "password": password}


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Iterator[Path]:
    """A project with a running dev environment, in a folder that everybody may enter (pytest's own are private)."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "pyproject.toml").write_text("# open to all\n")
    (folder / "my_bot.py").write_text(LIVE_BOT)
    try:
        greenroom(folder, "dev", "--backend", "process", "--detach", "--bot", "python my_bot.py")
        yield folder
    finally:
        greenroom(folder, "down")
        shutil.rmtree(folder)


def greenroom(folder: Path, *args: str) -> None:
    """Run a task in a folder."""
    command = [sys.executable, "-m", "greenroom", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_another_user_of_the_machine_reads_no_secret_and_gets_no_account(folder):
    """The files and command lines tell another user nothing; neither a guessed password nor a registration works."""
    state = json.loads((folder / ".greenroom/dev.json").read_text())
    secrets = json.loads((folder / ".greenroom/homeserver/secrets.json").read_text())
    passwords = {person["user_id"]: person["password"] for person in state["people"]}
    url = state["homeserver"]["url"]

    assert as_nobody("cat", str(folder / "pyproject.toml")).stdout == "# open to all\n"
    files = [path for path in (folder / ".greenroom").rglob("*") if path.is_file()]
    assert {"dev.json", "dev.env", "secrets.json", "homeserver.yaml"} <= {path.name for path in files}
    for path in files:
        seen = as_nobody("cat", str(path))
        assert (seen.stdout, seen.returncode) == ("", 1), path
        assert "Permission denied" in seen.stderr
    for pid in (state["homeserver"]["pid"], state["bot"]["pid"]):
        seen = as_nobody("cat", f"/proc/{pid}/cmdline", f"/proc/{pid}/environ")
        assert "python" in seen.stdout
        assert not [word for word in (*passwords.values(), *secrets.values()) if word in seen.stdout]

    for name in ("alice", "carol", "dave", "bot"):
        assert post(f"{url}{CLIENT}/login", login(name, passwords[f"@{name}:greenroom.test"]))[0] == 200
        for guess in (f"{name}-qa-pass", f"{name}-dev-pass", name, ""):
            assert post(f"{url}{CLIENT}/login", login(name, guess)) == (403, "M_FORBIDDEN")

    newcomer = {"username": "mallory", "password": "mine", "auth": {"type": "m.login.dummy"}}
    assert post(f"{url}{CLIENT}/register", newcomer) == (403, "M_FORBIDDEN")
    assert post(f"{url}{CLIENT}/register?kind=guest", {})[0] == 403
