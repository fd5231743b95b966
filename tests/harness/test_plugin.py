"""The pytest plugin in somebody else's project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# pytest-asyncio itself warns where its default loop scope is not chosen, as in most projects.
ASYNCIO_DEFAULT = "ignore:The configuration option:pytest.PytestDeprecationWarning"


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in somebody's project folder."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-W", ASYNCIO_DEFAULT, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty project with a folder of its own for runs; GREENROOM_REQUIRE of our own test run does not reach it."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("GREENROOM_REQUIRE", raising=False)
    return tmp_path


def test_merely_installed_it_does_nothing(elsewhere):
    """A project that uses no fixture of ours gets no folder, no server and no line in the report."""
    (elsewhere / "test_a.py").write_text("def test_a(): pass\n")

    answer = run_pytest(elsewhere)

    assert answer.returncode == 0, answer.stdout
    assert "greenroom ==" not in answer.stdout
    assert not (elsewhere / "runs").exists()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--greenroom-backend", "no such backend: 'cloud'; there are auto, container, process"),
        ("--greenroom-room-version", "synapse makes no rooms of version 'cloud'; there are 1, 2, "),
        ("--greenroom-homeserver", "no such homeserver: 'cloud'; there are synapse, conduit"),
        ("--greenroom-manners", "no such manners: 'cloud'; there are conduit, tuwunel, strict, no-admin-api, "),
    ],
)
def test_an_unknown_name_is_one_usage_error_that_names_the_option(elsewhere, option, reason):
    """It is refused before any test runs, not once per test."""
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, option, "cloud")

    assert answer.returncode == 4
    assert f"{option}: {reason}" in answer.stderr


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\ngreenroom_backend = cloud\n"),
        ("pyproject.toml", "[tool.pytest]\ngreenroom_backend = 'cloud'\n"),
    ],
)
def test_an_unknown_name_in_the_configuration_file_is_a_usage_error_that_names_the_file(elsewhere, file, text):
    """The message names the key and the file in which it stands."""
    (elsewhere / file).write_text(text)

    answer = run_pytest(elsewhere)

    assert answer.returncode == 4
    assert f"greenroom_backend in {elsewhere / file}: no such backend: 'cloud'" in answer.stderr


CONDUIT = ("--greenroom-backend", "process", "--greenroom-homeserver", "conduit")


def test_a_backend_that_is_not_available_is_skipped_by_name(elsewhere):
    """The summary has the reason, and a machine without that backend does not fail."""
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, *CONDUIT)

    assert answer.returncode == 0
    assert "conduit as a process is not available" in answer.stdout


def test_a_required_backend_that_is_missing_is_an_error(elsewhere, monkeypatch):
    """GREENROOM_REQUIRE turns the skip into a failure, for CI."""
    monkeypatch.setenv("GREENROOM_REQUIRE", "process")
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, *CONDUIT)

    assert answer.returncode == 1
    assert "conduit as a process is not available" in answer.stdout


def test_the_configuration_file_chooses_homeserver_and_backend(elsewhere):
    """Without options the keys `greenroom_homeserver` and `greenroom_backend` hold."""
    (elsewhere / "pytest.ini").write_text("[pytest]\ngreenroom_homeserver = conduit\ngreenroom_backend = process\n")
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    assert "conduit as a process is not available" in run_pytest(elsewhere).stdout


def test_an_option_wins_over_the_configuration_file(elsewhere):
    """A broken key in the file does not matter if the option replaces it."""
    (elsewhere / "pytest.ini").write_text("[pytest]\ngreenroom_homeserver = cloud\ngreenroom_backend = process\n")
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, "--greenroom-homeserver", "conduit")

    assert answer.returncode == 0
    assert "conduit as a process is not available" in answer.stdout


OPTIONS = """
def pytest_addoption(parser):
    parser.addoption("--backend", default="none")
    parser.addoption("--homeserver", default="none")
    parser.addini("backend", "a key of the project's own")
"""


def test_a_project_may_have_options_called_backend_and_homeserver(elsewhere):
    """Every name of ours begins with or ends in `greenroom`."""
    (elsewhere / "conftest.py").write_text(OPTIONS)
    (elsewhere / "test_a.py").write_text(
        "def test_a(pytestconfig):\n"
        "    chosen = pytestconfig.getoption('--backend'), pytestconfig.getoption('--homeserver')\n"
        "    assert chosen == ('redis', 'matrix.org')\n"
    )

    answer = run_pytest(elsewhere, "--backend", "redis", "--homeserver", "matrix.org")

    assert answer.returncode == 0, answer.stdout + answer.stderr


MARKED = """
import pytest

@pytest.mark.blueprint({arguments})
@pytest.mark.asyncio
async def test_seeded(fresh_homeserver):
    pass
"""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", 'the marker `blueprint` takes one name, e.g. @pytest.mark.blueprint("large", rooms=50)'),
        ('"quality"', "no such blueprint; there are drift, large, qa, or name the path of a .yaml file"),
        ('"large", room=5', "has no variable 'room' to set; did you mean 'rooms'?"),
        ('"./mine.yaml"', "mine.yaml"),
    ],
)
def test_a_wrong_marker_is_one_clear_line(elsewhere, arguments, problem):
    """No name, an unknown one, an unknown variable, a file that is not there beside the test."""
    (elsewhere / "test_a.py").write_text(MARKED.format(arguments=arguments))

    answer = run_pytest(elsewhere, "--greenroom-backend", "process")

    assert answer.returncode == 1
    assert problem in answer.stdout
