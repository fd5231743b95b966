"""Exceptions are found in a log as Python prints them, with the bot's own frames."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from greenroom.evidence.signs.tracebacks import exceptions_in


def log_of(code: str, folder: Path) -> str:
    """What Python really prints for a program."""
    (folder / "bot.py").write_text(code)
    answer = subprocess.run([sys.executable, "bot.py"], cwd=folder, capture_output=True, text=True, check=False)
    return answer.stderr


def test_a_real_traceback_is_read(tmp_path):
    """The exception and the frames, with the names of the functions and the source."""
    log = log_of("import json\n\ndef load():\n    return json.loads('{')\n\nload()\n", tmp_path)
    (found,) = exceptions_in(f"hello\n{log}")

    assert found.line.startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert [(frame.line, frame.where) for frame in found.own_frames()] == [(6, "<module>"), (4, "load")]
    assert found.shown([tmp_path]) == ("bot.py:6, in <module>", "bot.py:4, in load", "  return json.loads('{')")


def test_of_chained_exceptions_the_last_with_own_frames_counts(tmp_path):
    """An exception while another was handled is the one to look at."""
    code = "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise RuntimeError('no luck') from error\n"
    (found,) = exceptions_in(log_of(code, tmp_path))
    assert found.line == "RuntimeError: no luck"

    library = (
        'Traceback (most recent call last):\n  File "/usr/lib/python3.11/ssl.py", line 1, in f\n    x\nSSLError: bad\n'
    )
    own = 'Traceback (most recent call last):\n  File "/bots/b.py", line 2, in g\n    y\nValueError: mine\n'
    between = "\nDuring handling of the above exception, another exception occurred:\n\n"
    assert [e.line for e in exceptions_in(own + between + library)] == ["ValueError: mine"]
    assert [e.line for e in exceptions_in(library + between + own)] == ["ValueError: mine"]
    assert [e.line for e in exceptions_in(own + library)] == ["ValueError: mine", "SSLError: bad"]


def test_the_exceptions_of_a_group_are_found(tmp_path):
    """Python draws a frame around them."""
    raises = "def f():\n    raise KeyError('a')\n"
    code = f"{raises}try:\n    f()\nexcept KeyError as e:\n    raise ExceptionGroup('two', [e])\n"
    lines = [found.line for found in exceptions_in(log_of(code, tmp_path))]

    assert lines[-1] in ("KeyError: 'a'", "ExceptionGroup: two (1 sub-exception)")
    assert "KeyError: 'a'" in lines


def test_a_traceback_inside_a_json_line_is_found():
    """Structured logs hold the traceback in one field."""
    try:
        raise ValueError("inside")
    except ValueError:
        text = logging.Formatter().formatException(sys.exc_info())  # type: ignore[arg-type]
    line = json.dumps({"event": "callback_failed", "timestamp": "2026-11-21T12:00:00Z", "exception": text})
    (found,) = exceptions_in(f"{line}\nnext\n")

    assert found.line == "ValueError: inside"
    assert found.at is not None
    assert Path(found.own_frames()[-1].file).name == "test_tracebacks.py"


def test_a_syntax_error_and_a_bare_exception_are_found(tmp_path):
    """A syntax error has no function, and an exception may have no message."""
    (bare,) = exceptions_in(log_of("raise TimeoutError\n", tmp_path))
    assert bare.line == "TimeoutError"
    assert exceptions_in("Traceback of another language\n  at foo (bar.js:3)\n") == []


def test_at_most_six_frames_are_shown(tmp_path):
    """The last frames are the ones to look at."""
    code = "def down(n):\n    if not n:\n        raise ValueError('deep')\n    return (down(n - 1), 0)[0]\n\ndown(9)\n"
    (found,) = exceptions_in(log_of(code, tmp_path))

    assert len(found.shown()) <= 7
    assert found.shown()[-2].endswith("bot.py:3, in down")


def test_an_exception_that_ended_nothing_is_marked(tmp_path):
    """What asyncio says of its own exception handler, while a program ends, is not why the program ended."""
    fatal = log_of("raise ValueError('the cause')\n", tmp_path)
    log = f"{fatal}ERROR asyncio Unhandled error in exception handler\ncontext: {{}}\n{fatal}"

    assert [exception.aside for exception in exceptions_in(log)] == [False, True]
