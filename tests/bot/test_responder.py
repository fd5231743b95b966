"""The plug-in point: how the bot loads a responder, and how it reports a mistake in one."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from greenroom_bot.matrix.errors import ConfigError
from greenroom_bot.responder import Question, ResponderFailed, ask, echo, load_responder

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


def make_exit():
    sys.exit("no licence:\nset LICENCE")


def make_own():
    raise Own


def make_nothing():
    pass


def make_text():
    return "hello"


async def make_late():
    return echo()


class Own(BaseException):
    """An error outside `Exception`."""


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
        f"{__name__}:make_exit",
        f"{__name__}:make_own",
        f"{__name__}:make_nothing",
        f"{__name__}:make_text",
        f"{__name__}:make_late",
    ],
)
def test_a_responder_that_cannot_be_loaded_is_one_line_about_the_setting(spec):
    """A responder that cannot be loaded is a ConfigError of one line that names the setting and the reason."""
    with pytest.raises(ConfigError, match=r"MATRIX_RESPONDER .* cannot be (loaded|used)") as failed:
        load_responder(spec)

    assert "\n" not in str(failed.value)
    assert failed.value.exit_code == 2


def test_a_module_that_exits_while_it_is_imported_is_such_a_mistake(tmp_path, monkeypatch):
    """A service may check its own settings there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits_at_once.py").write_text("raise SystemExit('no licence')\n")

    with pytest.raises(ConfigError, match="cannot be loaded: SystemExit: no licence"):
        load_responder("exits_at_once:make")


@pytest.mark.parametrize("silence", [None, ""])
async def test_none_and_an_empty_text_are_silence(silence):
    """Both come out as None."""

    async def respond(question: Question) -> str | None:
        return silence

    assert await ask(respond, QUESTION) is None


async def test_a_failure_names_what_was_raised_in_one_line():
    """The cause is kept for the log."""

    async def respond(question: Question) -> str:
        raise SystemExit("first\nsecond")

    with pytest.raises(ResponderFailed, match=r"^SystemExit: first second$") as failed:
        await ask(respond, QUESTION)

    assert isinstance(failed.value.__cause__, SystemExit)


async def test_a_failure_names_the_type_of_an_answer_that_is_no_text():
    """Its content stays out of the log."""

    async def respond(question: Question):
        return {"secret": 1}

    with pytest.raises(ResponderFailed, match=r"no text but of the type dict$"):
        await ask(respond, QUESTION)


async def test_a_responder_that_cancels_itself_is_a_failed_one():
    """Its own task is cancelled, not that of the bot."""

    async def respond(question: Question) -> str:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
        return "too late"

    with pytest.raises(ResponderFailed, match=r"^CancelledError"):
        await ask(respond, QUESTION)

    assert asyncio.current_task().cancelling() == 0


async def test_a_responder_that_swallows_its_cancellation_keeps_no_stopping_bot():
    """The bot's own cancellation arrives, and whatever the responder makes of its own is dropped."""
    began, swallowed = asyncio.Event(), asyncio.Event()

    async def respond(question: Question) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        return "too late"

    asking = asyncio.create_task(ask(respond, QUESTION))
    await began.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    await asyncio.wait_for(swallowed.wait(), 5)


def test_a_responder_of_the_working_directory_is_found_last(tmp_path, monkeypatch):
    """A file beside the bot can be the responder, and no file there replaces an installed module."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_responder.py").write_text("import nio\ndef make(): return lambda: nio.__file__\n")
    (tmp_path / "nio.py").write_text("raise SystemExit('the wrong nio')\n")
    monkeypatch.delitem(sys.modules, "nio")

    assert "site-packages" in str(load_responder("my_own_responder:make")())
