"""The pytest plugin in somebody else's project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# pytest-asyncio itself warns where its default loop scope is not chosen, as in most projects.
ASYNCIO_DEFAULT = "ignore:The configuration option:pytest.PytestDeprecationWarning"


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project that has its own configuration, or none."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-W", ASYNCIO_DEFAULT, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A project folder with a place of its own for runs, and no requirement of the run that we are part of."""
    monkeypatch.setenv("GREENROOM_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("GREENROOM_REQUIRE", raising=False)
    return tmp_path


def test_merely_installed_it_does_nothing(elsewhere):
    """No folder, no server, no line in the report."""
    (elsewhere / "test_a.py").write_text("def test_a(): pass\n")

    answer = run_pytest(elsewhere)

    assert answer.returncode == 0, answer.stdout
    assert "greenroom ==" not in answer.stdout
    assert not (elsewhere / "runs").exists()


def test_a_backend_that_means_nothing_is_told_before_any_test_runs(elsewhere):
    """One line of usage error, not an error per test."""
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, "--backend", "cloud")

    assert answer.returncode == 4
    assert "no such backend: 'cloud'" in answer.stderr


def test_a_backend_that_is_not_available_is_skipped_by_name(elsewhere):
    """The reason is in the summary; a machine without it does not fail."""
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, "--backend", "process", "--homeserver", "conduit")

    assert answer.returncode == 0
    assert "conduit as a process is not available" in answer.stdout


def test_a_required_backend_that_is_missing_is_an_error(elsewhere, monkeypatch):
    """GREENROOM_REQUIRE turns the skip into a failure, for CI."""
    monkeypatch.setenv("GREENROOM_REQUIRE", "process")
    (elsewhere / "test_a.py").write_text("def test_a(homeserver): pass\n")

    answer = run_pytest(elsewhere, "--backend", "process", "--homeserver", "conduit")

    assert answer.returncode == 1
    assert "conduit as a process is not available" in answer.stdout
