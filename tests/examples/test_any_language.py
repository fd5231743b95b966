"""Everything that docs/any-language.md shows is run: the shell and Node examples, and the commands between them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.scenarios.load import load_promises
from tests.examples.test_examples import HERE, copy_example, elsewhere, judge

GUIDE = (HERE.parents[1] / "docs" / "any-language.md").read_text()
COMMANDS = re.findall(r"^    (greenroom .*)$", GUIDE, re.MULTILINE)
JUDGED = ("answers", "message-while-down", "killed-after-answer", "lost-response", "dead-token")

pytestmark = pytest.mark.e2e
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
__all__ = ["elsewhere"]  # a fixture


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the guide, on a homeserver that needs no container engine."""
    words = command.replace("greenroom run", f"{sys.executable} -m greenroom run --backend process", 1)
    return subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.parametrize("file", ["shell/hello.sh", "shell/faults.sh", "node/bot.mjs", "node/bot.test.mjs"])
def test_the_guide_shows_the_files_as_they_are(file):
    """The guide shows each file letter by letter."""
    assert (HERE / file).read_text() in re.findall(r"^```(?:sh|js)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_every_command_of_the_guide_is_run_here():
    """A command that the guide shows is one of those below."""
    assert COMMANDS == [
        "greenroom run -- sh hello.sh",
        "greenroom run -- sh -c 'curl -sf $MATRIX_HOMESERVER/_matrix/client/versions'",
        "greenroom run --http -- sh faults.sh",
        "greenroom run --http -- node --test",
        "greenroom scenarios --promises bot.yaml",
    ]


@needs_curl
@pytest.mark.parametrize("command", COMMANDS[:3], ids=["hello", "versions", "faults"])
def test_the_shell_examples_end_with_success(command, elsewhere):
    """Each line of a script succeeds (`set -e`), so the script says by its exit code that all is as it wants."""
    copy_example("shell", elsewhere)

    done = run(elsewhere, command)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"greenroom: synapse on backend process \(asked for\), ready after [\d.]+ s\n", done.stderr)
    assert not (elsewhere / ".greenroom").exists()


@needs_curl
def test_a_failure_is_told_as_the_guide_shows(elsewhere):
    """Exit code, cause and bundle stand in the guide as they are printed."""
    (shown,) = re.findall(r"^    \$ (greenroom run .*)\n((?:    .*\n)+)", GUIDE, re.MULTILINE)

    failed = run(elsewhere, shown[0])

    assert failed.returncode == 22  # curl's code for a refused request
    lines = [line.strip() for line in shown[1].splitlines()]
    assert "ended with exit code 22" in lines[1]
    assert "ended with exit code 22" in failed.stderr
    assert lines[2] in failed.stderr
    assert re.search(r"^  bundle: \.greenroom/failures/\d{8}-\d{6}/run-sh$", failed.stderr, re.MULTILINE)


@needs_node
def test_the_tests_of_the_node_example_pass(elsewhere):
    """Node's test runner starts the bot over HTTP, kills it, loses a response and restarts the homeserver."""
    copy_example("node", elsewhere)

    done = run(elsewhere, COMMANDS[3])

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass 4$|^ℹ pass 4$", done.stdout, re.MULTILINE), done.stdout


@needs_node
def test_the_node_bot_keeps_its_promises(elsewhere):
    """A bot in another language is judged as any other."""
    copy_example("node", elsewhere)

    judged = judge(elsewhere, "bot.yaml", JUDGED)

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert re.findall(r"^(\S+) .* passed", judged.stdout, re.MULTILINE) == list(JUDGED)
    assert load_promises(elsewhere / "bot.yaml").promises["default"] == "yes"


@needs_node
def test_a_node_bot_that_repeats_itself_fails_its_test(elsewhere):
    """The example's test can fail: a bot with new transaction ids answers twice after a lost response."""
    copy_example("node", elsewhere)
    bot = (elsewhere / "bot.mjs").read_text()
    own_id = "encodeURIComponent(event.event_id)}`;\n  await tryTo"
    assert own_id in bot
    again = 'await tryTo("PUT", `${path}-again`, { msgtype: "m.notice", body: body.slice(6) });'
    once_more = own_id.replace("await tryTo", f"{again}\n  await tryTo")
    (elsewhere / "bot.mjs").write_text(bot.replace(own_id, once_more))

    done = run(elsewhere, COMMANDS[3])

    assert done.returncode == 1
    assert "2 !== 1" in done.stdout
    assert "bundle: .greenroom/failures/" in done.stderr
