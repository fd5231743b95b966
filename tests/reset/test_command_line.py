"""The command as a person meets it: help, one line for every mistake, JSON by its schema, forbidden sentences."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import math
import os
import pty
import re
import select
import subprocess
import sys

import jsonschema
import pytest

from greenroom_reset.__main__ import main, parser
from greenroom_reset.summary import document, summary_lines
from tests.reset.conftest import (
    ALICE,
    FORBIDDEN,
    LOCAL,
    ROOT,
    SERVER,
    acknowledged,
    add_room,
    event,
    schema,
    start,
    tree,
)

DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "reset.md"]


def test_help_is_complete():
    """The help names every option, both modes, every exit code and setting, and warns of production accounts."""
    text = parser().format_help()

    for word in ("--mode", LOCAL, SERVER, "--dry-run", "--yes", "--json", "--i-know-this-is HOST"):
        assert word in text
    for setting in ("HOMESERVER", "USER_ID", "PASSWORD", "ACCESS_TOKEN", "DB_PATH", "STORE_PATH"):
        assert f"MATRIX_{setting}" in text
    for code in ("0 all done", "1 something failed", "2 refused", "4 credentials"):
        assert code in text
    assert "Never for production" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    "argv",
    [["--mode"], ["--mode", "everything"], ["--mode", LOCAL, "--frob"], ["--mode", LOCAL, "--dry"], ["local-only"]],
)
def test_misuse_is_one_line_and_exit_code_2(argv, environ, bot_state, capsys):
    """A wrong command line is one line and touches nothing. An abbreviation is not an option."""
    before = tree(bot_state)

    assert main(argv, environ) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"reset: .+ \(see python -m greenroom_reset --help\)\n", captured.err)
    assert tree(bot_state) == before


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"MATRIX_HOMESERVER": "https://matrix.org"}, 2, "is not on this machine"),
        ({"MATRIX_HOMESERVER": "matrix.org"}, 2, "is not an http(s) URL"),
        ({"MATRIX_USER_ID": "", "MATRIX_PASSWORD": ""}, 2, "MATRIX_USER_ID is not set"),
        ({"MATRIX_HOMESERVER": "http://127.0.0.1:1"}, 1, "no answer"),
        ({"MATRIX_HOMESERVER": "http://127.0.0.1:99999"}, 2, "99999"),
        ({"MATRIX_STORE_PATH": "/"}, 2, "or holds it"),
        ({"MATRIX_STORE_PATH": "x" * 5000}, 2, "cannot look"),
    ],
)
def test_a_bad_setting_is_one_line(changed, code, says, environ, capsys):
    """A setting that makes no sense is one line on stderr and an exit code."""
    assert main(["--mode", SERVER, "--mode", LOCAL, "--dry-run"], {**environ, **changed}) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert len(captured.err.splitlines()) == 1


def test_json_is_the_only_thing_on_stdout_and_follows_the_documented_schema(environ, bot_state, capsys):
    """With `--json` stdout holds one document, and the plan goes to stderr."""
    assert main(["--mode", LOCAL, "--dry-run", "--json"], environ) == 0

    captured = capsys.readouterr()
    jsonschema.validate(json.loads(captured.out), schema())
    assert "Plan of a development reset" in captured.err


def test_without_a_mode_it_is_a_local_reset(environ, bot_state, capsys):
    """Without `--mode` the local files are deleted, and no homeserver is asked."""
    assert main(["--yes", "--json"], environ) == 0

    ran = json.loads(capsys.readouterr().out)
    assert ({file["state"] for file in ran["local"]}, ran["server"]) == ({"deleted"}, None)
    assert tree(bot_state) == {}


def test_without_a_mode_it_still_asks(environ, bot_state, capsys, monkeypatch):
    """Without a terminal and without `--yes` the default mode changes nothing."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    before = tree(bot_state)

    assert main([], environ) == 2

    assert capsys.readouterr().err.startswith("reset: no terminal to confirm on. Pass --yes to proceed")
    assert tree(bot_state) == before


async def test_with_json_the_progress_goes_to_stderr(online, server):
    """With `--json` the acknowledged rooms are printed on stderr, and stdout holds the document only."""
    add_room(server, "!a:hs")
    process = await start(online, "--json")
    out, err = await asyncio.wait_for(process.communicate(), 20)

    assert [room["state"] for room in json.loads(out)["server"]["rooms"]] == ["done"]
    assert acknowledged(err.decode()) == ["!a:hs"]


async def test_every_kind_of_summary_follows_the_schema(online, server, bot_state, shown):
    """Dry, done, failed and unverified summaries of either mode follow the schema and have three parts."""
    add_room(server, "!a:hs", "join", event("m.room.member", {"membership": "join"}, ALICE))
    add_room(server, "!bad:hs", "invite")
    server.fail("POST /rooms/!bad:hs/leave", 403, FORBIDDEN, times=math.inf)

    summaries = [await shown.reset(online, SERVER, LOCAL, dry_run=True)]
    server.when("GET /sync", lambda: server.fail("GET /sync", 500))
    summaries.append(await shown.reset(online, SERVER, LOCAL, yes=True))
    summaries.append(await shown.reset(online, SERVER, LOCAL, yes=True))
    server.faults.clear()
    summaries += [await shown.reset(online, *modes, yes=True) for modes in ([SERVER], [LOCAL], [SERVER, LOCAL])]

    assert [summary.exit_code for summary in summaries] == [0, 1, 1, 0, 0, 0]
    for summary in summaries:
        jsonschema.validate(json.loads(json.dumps(document(summary))), schema())
        headings = [line for line in summary_lines(summary) if line[:2] in ("1.", "2.", "3.")]
        assert len(headings) == 3
        assert headings[2].startswith("3. Manual steps in a Matrix client")
    text = "\n".join(line for summary in summaries for line in summary_lines(summary)) + shown.text.getvalue()
    assert not says_rooms_are_deleted(text)
    assert not says_rooms_are_deleted(json.dumps(document(summaries[2])["server"]))


async def test_a_name_that_the_terminal_cannot_show_is_no_traceback(environ, server):
    """Characters of a room name that the terminal cannot show become question marks."""
    add_room(server, "!a:hs", "invite", event("m.room.name", {"name": "\u0416"}))
    process = await start({**environ, "MATRIX_HOMESERVER": server.url, "PYTHONIOENCODING": "latin-1"})
    out, err = await asyncio.wait_for(process.communicate(), 20)

    assert (process.returncode, err) == (0, b"")
    assert 'room "?" !a:hs' in out.decode("latin-1")


# What it never says, and what documents promise


def says_rooms_are_deleted(text: str) -> list[str]:
    """Clauses that put `delete` or `remove` beside a room, a Space or a chat."""
    prose = re.split(r"\n|(?<=[.,:;|])\s", text)
    return [
        part for part in prose if re.search(r"delet|remov", part, re.I) and re.search(r"room|space|chat", part, re.I)
    ]


def test_the_check_for_such_sentences_finds_them():
    """The check for sentences about deleted rooms finds some and passes others."""
    assert says_rooms_are_deleted("Done.\n3 rooms were deleted") == ["3 rooms were deleted"]
    assert says_rooms_are_deleted("It removes the Space.")
    assert not says_rooms_are_deleted("Local files deleted. Rooms left.")


def test_nothing_says_that_rooms_are_deleted():
    """No help, document or text in the sources says that rooms are deleted: they live on for other people."""
    sources = [
        node.value
        for path in sorted((ROOT / "reset").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for text in [parser().format_help(), *(path.read_text() for path in DOCUMENTS), *sources]:
        assert says_rooms_are_deleted(text) == []


def test_the_readme_says_that_a_normal_restart_is_the_default_path_and_a_reset_explicit():
    """The README calls a normal restart the default path and shows the dry run of a server reset."""
    text = DOCUMENTS[0].read_text()

    assert "normal restart is the default path" in text
    for word in ("invoke reset", "--local", "--server", "--dry-run"):
        assert word in text


def test_documents_send_nobody_to_delete_files_by_hand():
    """No document tells people to delete the bot's files by hand."""
    for path in DOCUMENTS:
        assert not re.search(r"\brm -|unlink|rmtree", path.read_text())


def test_the_document_names_every_option_and_every_exit_code():
    """docs/reset.md names each option of `--help` and each exit code."""
    text = DOCUMENTS[1].read_text()
    options = re.findall(r"--[a-z-]+", parser().format_help())

    assert [option for option in options if option not in text and option != "--help"] == []
    for code in "0124":
        assert f"| {code} | " in text
    assert "that is the default path" in text


# Structure


@pytest.mark.parametrize("mode", [["--mode", LOCAL], []])
def test_a_local_reset_loads_no_network_code(environ, bot_state, mode):
    """A local reset, which is the default, imports neither nio nor aiohttp."""
    code = (
        "import sys; from greenroom_reset.__main__ import main;"
        "print(main(), 'nio' in sys.modules, 'aiohttp' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *mode, "--yes"]

    ran = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "0 False False"
    assert tree(bot_state) == {}


# At a terminal


def _at_a_terminal(environ: dict[str, str], typed: bytes) -> tuple[int, str]:
    """Run a local reset on a terminal of its own, answer its question, and return the exit code and the screen."""
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "greenroom_reset", "--mode", LOCAL],
        env={**os.environ, **environ, "TERM": "xterm", "NO_COLOR": ""},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(0), os.O_RDWR))),  # to own the terminal
    )
    os.close(terminal)
    screen = b""
    try:
        while True:
            # Typed repeatedly: Python can miss a Ctrl-C that comes between the question and its reading.
            if not select.select([keyboard], [], [], 0.3)[0]:
                if b"[y/N]" in screen:
                    os.write(keyboard, typed)
            else:
                screen += os.read(keyboard, 4096)
    except OSError:  # how Linux says that the terminal has closed
        pass
    finally:
        os.close(keyboard)
    return process.wait(timeout=10), screen.decode()


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2), (b"\x04", 2), (b"\x03", 2)])
def test_at_a_terminal_it_asks_and_takes_only_yes_for_a_yes(environ, bot_state, typed, code):
    """Only `y` goes ahead; `n`, Enter, the end of input and Ctrl-C change nothing."""
    before = tree(bot_state)

    ended, screen = _at_a_terminal(environ, typed)

    assert ended == code, screen
    assert "Traceback" not in screen
    assert tree(bot_state) == ({} if code == 0 else before)
