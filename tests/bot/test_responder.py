"""The plug-in point: how the bot loads a responder, and how it reports a mistake in one."""

from __future__ import annotations

import os
import sys

import pytest

from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.responder import Question, echo, load_responder

QUESTION = Question("C1", "@alice:hs1", "@alice:hs1", "$e", "hello")


def make_shouting():
    async def shout(question: Question) -> str:
        return question.body.upper()

    return shout


def make_broken():
    raise RuntimeError("no licence")


async def test_the_default_says_what_it_was_told():
    """The default responder repeats the message."""
    assert await echo()(QUESTION) == "hello"


async def test_a_factory_is_imported_by_name():
    """`package.module:factory` imports the module and calls the factory."""
    assert await load_responder(f"{__name__}:make_shouting")(QUESTION) == "HELLO"


@pytest.mark.parametrize(
    "spec",
    [
        "no_such_module:x",
        "greenroom_bot.responder:nothing",
        "greenroom_bot.responder",
        "",
        ":x",
        "greenroom_bot.responder:",
        f"{__name__}:make_broken",
    ],
)
def test_a_responder_that_cannot_be_loaded_is_one_line_about_the_setting(spec):
    """A responder that cannot be loaded is a ConfigError of one line that names the setting and the reason."""
    with pytest.raises(ConfigError, match=r"MATRIX_RESPONDER .* cannot be loaded") as failed:
        load_responder(spec)

    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 2


def test_a_responder_of_the_working_directory_is_found_last(tmp_path, monkeypatch):
    """A file beside the bot can be the responder, and no file there replaces an installed module."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_responder.py").write_text("import nio\nmade = nio.__file__\ndef make(): return made\n")
    (tmp_path / "nio.py").write_text("raise SystemExit('the wrong nio')\n")
    monkeypatch.delitem(sys.modules, "nio")

    assert "site-packages" in str(load_responder("my_own_responder:make"))
