"""Three projects of bot developers, with Greenroom installed from its wheel: all works, and no file of theirs is run.

Their files have the names that such projects have: `bot.py`, `reset.py`, `harness/`, `tasks.py`. Each of these files is
a trap that leaves a mark if anything imports or runs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenroom.processes.procfs import pids_with_environment, started_at

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "testing-your-bot.md").read_text()
EXAMPLE = ROOT / "tests" / "examples" / "nio"
SOURCES = ("bot", "reset", "harness", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = {"greenroom", "greenroom_bot", "greenroom_reset"}
NOT_PASSED_ON = ("MATRIX_", "PYTEST_", "PYTHON", "GREENROOM_R", "VIRTUAL_ENV")  # what our own test run has set
TIMEOUT_S = 120

MODULES = ("bot.py", "reset.py")
FOLDERS = ("bot/__init__.py", "bot/__main__.py", "bot/core.py", "harness/__init__.py", "harness/plugin.py")
EVERYTHING = (
    *(*MODULES, *FOLDERS, "reset/__init__.py", "reset/__main__.py", "tasks.py", "plugin.py", "session.py"),
    *("checks.py", "must.py", "never.py", "faults.py", "errors.py", "greenroom_tests.py", "my_greenroom.py"),
)
OPTIONS = """
def pytest_addoption(parser):
    parser.addoption("--backend", default="redis")
    parser.addoption("--homeserver", default="matrix.org")
"""


@dataclass(frozen=True)
class Shape:
    """The shape of a project: which traps it has, where its tests are, and its conftest."""

    traps: tuple[str, ...]
    tests: str = "."
    conftest: str = ""


SHAPES = {
    "modules": Shape(MODULES),
    "packages": Shape(FOLDERS, tests="tests"),
    "everything": Shape(EVERYTHING, conftest=OPTIONS),
}


def copy_sources(folder: Path) -> None:
    """Copy the sources, so that no build folder is left in the checkout."""
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder)
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", build, "dist"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (made,) = (folder / "dist").glob("*.whl")
    return made


def empty_environment(folder: Path) -> Path:
    """Make a virtual environment. What Greenroom depends on comes from the environment of this test."""
    venv.create(folder, with_pip=True)
    # Python 3.11 puts an old setuptools into each environment, which would hide ours.
    pip = [folder / "bin" / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"]
    subprocess.run(pip, check=True, timeout=TIMEOUT_S, stderr=subprocess.DEVNULL)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    ours = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (site_packages / "dependencies.pth").write_text("\n".join(ours))
    return folder


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A fresh virtual environment with the wheel in it."""
    folder = empty_environment(tmp_path_factory.mktemp("environment"))
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=TIMEOUT_S)
    script = folder / "bin" / "pytest"  # as pip would have written it
    script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n")
    script.chmod(0o755)
    return folder


@dataclass(frozen=True)
class Project:
    """A project folder, and the virtual environment in which its developer works."""

    folder: Path
    environment: Path
    marks: Path

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "GREENROOM_RUNS_DIR": f"{self.folder}-runs", "PROJECT_OF_TEST": str(self.folder)}
        return {**kept, **own}

    def run(self, command: str, *arguments: str) -> str:
        """Run a command of the virtual environment in the project's folder; return what it printed."""
        done = subprocess.run(
            [self.environment / "bin" / command, *arguments],
            cwd=self.folder,
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def living(self) -> list[int]:
        return [pid for pid in pids_with_environment(f"PROJECT_OF_TEST={self.folder}") if started_at(pid)]

    def sprung(self) -> list[str]:
        """Return the traps that something imported or ran."""
        return sorted(mark.name for mark in self.marks.iterdir())


@pytest.fixture(params=SHAPES)
def project(request, tmp_path, environment) -> Iterator[Project]:
    """A project of one shape, with the guide's echo bot and its ten-line test. What is left of it is killed."""
    shape = SHAPES[request.param]
    folder, marks = tmp_path / "project", tmp_path / "marks"
    (folder / shape.tests).mkdir(parents=True)
    marks.mkdir()
    for name in shape.traps:
        trap = folder / name
        trap.parent.mkdir(exist_ok=True)
        trap.write_text(f"open({str(marks / name.replace('/', '-'))!r}, 'a').close()\n")
    (folder / "neighbour.py").write_text("open('neighbour-was-imported', 'a').close()\n")
    (folder / "echo_bot.py").write_text("import neighbour\n" + (EXAMPLE / "echo_bot.py").read_text())
    shutil.copy(EXAMPLE / "test_echo_bot.py", folder / shape.tests)
    (folder / "pytest.ini").write_text("[pytest]\ngreenroom_backend = process\n")
    (folder / "conftest.py").write_text(shape.conftest)
    (folder / "few.yaml").write_text("version: 1\nname: few\npeople: [{name: bot}, {name: alice}]\n")
    project = Project(folder, environment, marks)
    yield project
    for pid in project.living():
        os.kill(pid, signal.SIGKILL)


def test_the_wheel_has_three_packages_with_names_of_their_own(wheel):
    """No name that a project of a user has is at the top level."""
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_everything_works_in_a_project_with_files_of_everyday_names(project):
    """The ten-line test, both ways of running pytest, and each task run nothing of the project but its echo bot."""
    with ThreadPoolExecutor() as pool:
        tested = [pool.submit(project.run, *command) for command in (["pytest"], ["python", "-m", "pytest"])]
        started = project.run("greenroom", "dev", "--backend", "process", "--detach", "--seed", "few.yaml")
        status = project.run("greenroom", "status", "--json")
        server = project.run("greenroom", "reset", "--server", "--dry-run")
        project.run("python", "-m", "greenroom", "down")
        local = project.run("greenroom", "reset", "--local", "--dry-run")

    assert "running in the background" in started
    assert json.loads(status)["drift"]["in_step"]
    assert "@bot:greenroom.test" in server
    assert str(project.folder / ".greenroom/bot/lambda_matrix.db") in local
    assert (project.folder / ".greenroom/bot/lambda_matrix.db").exists()
    assert all(re.search(r"^=+ 1 passed", each.result(), re.MULTILINE) for each in tested)
    assert project.sprung() == []
    assert (project.folder / "neighbour-was-imported").exists()
    assert project.living() == []


@pytest.mark.parametrize("project", ["modules"], indirect=True)
def test_modules_that_greenroom_uses_are_not_taken_from_the_working_directory(project):
    """Neither `python -m greenroom`, which Python starts with that folder on the path, nor its children look there."""
    for name in ("docker", "email", "invoke", "logging", "nio", "re", "structlog", "typing", "yaml", "greenroom_bot"):
        (project.folder / f"{name}.py").write_text(f"open({str(project.marks / name)!r}, 'a').close()\n")
    settings = {"MATRIX_HOMESERVER": "http://127.0.0.1:9", "MATRIX_USER_ID": "@bot:hs1", "MATRIX_PASSWORD": "secret"}
    (project.folder / ".greenroom").mkdir()
    (project.folder / ".greenroom/dev.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    listed = project.run("python", "-m", "greenroom", "--list")
    project.run("python", "-m", "greenroom", "down", "--all", "--dry-run")
    project.run("greenroom", "reset", "--local", "--dry-run")

    assert "Subcommands:" in listed
    assert project.sprung() == []


def install_lines() -> list[str]:
    """Return each way of the guide to install Greenroom, as lines for a shell."""
    section = GUIDE.partition("## Install it\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def test_the_guide_shows_two_ways_to_install_that_work_without_a_registry_of_ours():
    """From a checkout and from a wheel. PyPI is named in the text only, for when Greenroom is there."""
    assert len(install_lines()) == 2
    assert not [lines for lines in install_lines() if "'matrix-greenroom" in lines]


@pytest.mark.parametrize("lines", install_lines(), ids=["checkout", "wheel"])
def test_the_lines_of_the_guide_install_greenroom(tmp_path, lines):
    """In an empty environment and another folder, the lines as they are shown make `greenroom` and `doctor` work.

    This test needs no network: pip takes no dependencies, and builds with the setuptools of this environment.
    """
    checkout, elsewhere = tmp_path / "greenroom", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    copy_sources(checkout)
    bin_folder = empty_environment(tmp_path / "environment") / "bin"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0 means: no isolation
    environ = {**kept, **offline, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    def shell(script: str) -> str:
        script = script.replace("/path/to/greenroom", str(checkout))
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=elsewhere,
            env=environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    shell(lines)

    assert shell("command -v greenroom").strip() == str(bin_folder / "greenroom")
    where = shell('python -c "import greenroom; print(greenroom.__file__)"')
    assert where.startswith(str(bin_folder.parent / "lib"))
    assert "Subcommands:" in shell("greenroom --list")
    assert "Synapse as a process: matrix-synapse" in shell("greenroom doctor")
