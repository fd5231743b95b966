"""What the README shows of real runs: which commands, and which lines of their output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PICTURE_OF = "python3 tasks.py dev"
ROOM = "Travel plans"  # of the blueprint qa
SAID = ("Good morning", "Which train goes to Vienna?")
LEFT_OUT = "…"
ROOM_ID = r"(![\w-]{6})[\w-]{37}"  # too long for a document
ECHO_BOT = "tests/examples/nio/echo_bot.py"
ECHO_TEST = "tests/examples/nio/test_echo_bot.py"
STATE = r"^(bot +(not|live)|@bot:|  !)"  # what `status` says of the bot, and drift


@dataclass(frozen=True)
class Command:
    """A command line, and a pattern for the lines that are shown. The default shows all of them."""

    line: str
    show: str = ""


# They run in this order in one project folder, after the run that the picture shows.
SAMPLES: Mapping[str, Sequence[Command]] = {
    "recover": (
        Command("python3 tasks.py dev --detach", r"^(homeserver: ready|seed|bot: live)"),
        Command("python3 tasks.py stop bot"),
        Command("python3 tasks.py reset --yes", r"^(1\.|  deleted: (database|store directory))"),
        Command("python3 tasks.py status", STATE),
        Command("python3 tasks.py start bot"),
        Command("python3 tasks.py status", STATE),
    ),
    "reset": (
        Command("python3 tasks.py reset --server --dry-run", r"^(Server|  leave and forget|Summary)"),
        Command("python3 tasks.py reset --server --yes", r"^(.* confirmed|3\.|  - )"),
        Command("python3 tasks.py down"),
    ),
    "scenarios": (
        Command(
            "greenroom scenarios --bot 'python echo_bot.py' "
            "--only answers,kicked,lost-response,restart-repeats-nothing,broken-sync",
            r"^(scenario |[a-z-]+ .* \d+\.\d\b)",
        ),
    ),
    "plugin": (Command("pytest -q test_echo_bot.py", "passed|failed|error"),),
}


def shown(command: Command, output: str) -> str:
    """Return a command with its output as the README shows it. One `…` stands for any lines that are left out."""
    lines = [f"$ {command.line}"]
    for line in output.splitlines():
        if re.search(command.show, line):
            lines.append(re.sub(ROOM_ID, r"\1…", line).rstrip())
        elif lines[-1] != LEFT_OUT:
            lines.append(LEFT_OUT)
    return "\n".join(lines)


def with_samples(text: str, samples: Mapping[str, str]) -> str:
    """Return a document with its samples replaced. A sample stands between `<!-- sample NAME -->` and its end."""
    for name, sample in samples.items():
        block = f"\n```console\n{sample}\n```\n\n"
        text = _part(name).sub(lambda found, block=block: found[1] + block + found[3], text)  # type: ignore[misc]
    return text


def sample_in(text: str, name: str) -> str:
    """Return the sample of that name in a document. Raises LookupError if there is none."""
    found = _part(name).search(text)
    if found is None:
        raise LookupError(f"the document has no <!-- sample {name} -->")
    return found[2].strip().removeprefix("```console\n").removesuffix("\n```")


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- sample {name} -->\n)(.*?)(<!-- /sample -->)", re.DOTALL)
