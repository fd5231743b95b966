"""The files of the zoo, without running a bot: they can be read, they are complete, and docs/recipes.md shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenroom.errors import Misuse
from greenroom.scenarios import load_promises, scenarios_for
from tests.zoo.choice import VARIABLE, chosen
from tests.zoo.venvs import HERE, Environment, NotInstalled, names

RECIPES = (HERE.parents[1] / "docs" / "recipes.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", RECIPES, re.DOTALL | re.MULTILINE)
SHOWN = sorted(file for name in names() for file in (HERE / name).rglob("*") if file.suffix in (".py", ".yaml"))


def environment(folder: Path, requirements: str = "") -> Environment:
    """Return an environment that is not made. Its requirements need no network."""
    file = folder / "requirements.txt"
    file.write_text(requirements)
    return Environment("bot", file, folder / "environment")


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
    lines = (HERE / name / "requirements.txt").read_text().split()

    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in lines)
    assert f"pip install {' '.join(lines)}" in RECIPES


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
    monkeypatch.setattr("tests.zoo.venvs.HERE", tmp_path)
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot/requirements.txt").write_text("bot==1\n")
    before = Environment.of("bot", tmp_path)
    (tmp_path / "bot/requirements.txt").write_text("bot==2\n")

    assert Environment.of("bot", tmp_path).folder != before.folder


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
