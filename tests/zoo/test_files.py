"""The files of the zoo, without running a bot: they can be read, they are complete, and docs/recipes.md shows them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from greenroom.errors import Misuse
from greenroom.scenarios import load_promises, scenarios_for
from tests.zoo.choice import VARIABLE, chosen
from tests.zoo.environments import (
    HERE,
    CargoEnvironment,
    Environment,
    NoInstaller,
    NotInstalled,
    PythonEnvironment,
    environment_of,
    names,
)

RECIPES = (HERE.parents[1] / "docs" / "recipes.md").read_text()
INSTALLS = {PythonEnvironment: "pip install", CargoEnvironment: "cargo install --locked"}
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", RECIPES, re.DOTALL | re.MULTILINE)
SHOWN = sorted(file for name in names() for file in (HERE / name).rglob("*") if file.suffix in (".py", ".yaml"))


def environment(folder: Path, requirements: str = "") -> Environment:
    """Return an environment that is not made. Its requirements need no network."""
    file = folder / "requirements.txt"
    file.write_text(requirements)
    return PythonEnvironment("bot", file, folder / "environment")


def cargo_environment(folder: Path, crates: str) -> Environment:
    """Return an environment of crates that is not made."""
    file = folder / "crates.txt"
    file.write_text(crates)
    return CargoEnvironment("bot", file, folder / "environment")


@pytest.mark.parametrize("name", names())
def test_a_bot_says_something_of_every_scenario_that_suits_it(name):
    """A scenario without a line would have no expected verdict."""
    promises = load_promises(HERE / name / "bot.yaml")

    assert set(promises.promises) == {scenario.name for scenario in scenarios_for(promises)}


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: file.relative_to(HERE).as_posix())
def test_the_recipes_show_the_files_as_they_are(file):
    """docs/recipes.md shows each file letter by letter."""
    assert file.read_text() in BLOCKS


@pytest.mark.parametrize("name", names())
def test_the_recipes_name_the_versions_that_run(name):
    """Each requirement has one version, and docs/recipes.md names the same."""
    environment = environment_of(name, HERE)
    lines = environment.requirements.read_text().split()

    assert all(re.fullmatch(r"[\w.\[\]-]+(==|@)[\w.]+", line) for line in lines)
    assert f"{INSTALLS[type(environment)]} {' '.join(lines)}\n" in RECIPES


def test_no_bot_runs_unless_somebody_asks():
    """A plain `pytest` installs nothing. The option wins over the variable."""
    everything = {VARIABLE: "all"}

    assert chosen(None, {}) == []
    assert chosen(None, everything) == names()
    assert chosen("maubot, opsdroid", everything) == ["maubot", "opsdroid"]
    assert chosen("", everything) == []


def test_a_bot_that_the_zoo_does_not_have_is_a_mistake():
    """A misspelled name would otherwise look like a run without failures."""
    with pytest.raises(Misuse, match=r"the zoo has no bot 'mabot'; it has .*maubot, .*, or all of them: all"):
        chosen("mabot", {})


def test_another_requirement_is_another_environment(tmp_path, monkeypatch):
    """An environment of earlier requirements is never used for later ones."""
    monkeypatch.setattr("tests.zoo.environments.HERE", tmp_path)
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot/requirements.txt").write_text("bot==1\n")
    before = environment_of("bot", tmp_path)
    (tmp_path / "bot/requirements.txt").write_text("bot==2\n")

    assert environment_of("bot", tmp_path).folder != before.folder


def test_an_installation_that_was_cut_off_is_begun_again(tmp_path):
    """Only a mark at the end says that an environment is whole."""
    cut_off = environment(tmp_path)
    cut_off.folder.mkdir(parents=True)
    (cut_off.folder / "half").touch()

    cut_off.make()

    assert cut_off.is_made
    assert not (cut_off.folder / "half").exists()
    assert Path(cut_off.program("python")).exists()


def test_a_package_that_pip_cannot_install_is_told_in_one_line(tmp_path):
    """The error is pip's own line, and the next run tries again."""
    wrong = environment(tmp_path, "--no-index\nno-such-bot==1\n")

    with pytest.raises(NotInstalled, match=r"bot: its packages cannot be installed from PyPI: ERROR: .*no-such-bot"):
        wrong.make()

    assert not wrong.is_made


@pytest.mark.skipif(not shutil.which("cargo"), reason="needs Cargo")
def test_a_crate_that_cargo_cannot_install_is_told_in_one_line(tmp_path, monkeypatch):
    """The error is Cargo's own line, and the next run tries again."""
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    wrong = cargo_environment(tmp_path, "no-such-bot@1.0.0\n")

    with pytest.raises(
        NotInstalled, match=r"^bot: its packages cannot be installed from crates.io: error: .*no-such-bot.*$"
    ):
        wrong.make()

    assert not wrong.is_made


def test_a_machine_without_cargo_is_told_in_one_line(tmp_path, monkeypatch):
    """Nothing has failed then: the bot's tests are skipped with this reason."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoInstaller, match=r"^bot needs cargo, which is not installed$"):
        cargo_environment(tmp_path, "bot@1.0.0\n").make()
