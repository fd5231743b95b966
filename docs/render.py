"""Write the generated parts of the documents: `python -m docs.render`. A test fails if one is out of date.

A generated part is between `<!-- NAME -->` and `<!-- /NAME -->`; the rest is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from greenroom.commands.tasks import namespace
from greenroom_bot.commands import COMMANDS
from greenroom_bot.config import settings_table
from greenroom_bot.rooms.planner import CONFLICTS, RULES

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "docs/reconciliation.md")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def tasks() -> str:
    """Return the table of the tasks with their options."""
    rows = []
    for name in sorted(namespace.task_names):
        task = namespace[name]
        words = [f"invoke {name.replace('_', '-')}"]
        for argument in task.get_arguments():
            flag = f"--{argument.names[0].replace('_', '-')}"
            if argument.positional or argument.names[0] in task.positional:
                words.append(f"[{argument.names[0].upper()}]")
            else:
                words.append(f"[{flag}]" if argument.kind is bool else f"[{flag} …]")
        rows.append((f"`{' '.join(words)}`", (inspect.getdoc(task.body) or "").splitlines()[0]))
    return table(("command", "what it does"), rows)


def settings() -> str:
    """Return the table of the bot's settings."""
    return table(("variable", "meaning", "when absent"), [(f"`{name}`", *rest) for name, *rest in settings_table()])


def bot_commands() -> str:
    """Return the table of the commands that the bot understands."""
    return table(("say", "effect"), [(f"`{c.usage}`", c.help) for c in COMMANDS.values()])


def outcomes() -> str:
    """Return the table of the outcomes of reconciliation."""
    return table(("outcome", "when, and the one rule"), [(f"`{name}`", rule) for name, rule in RULES.items()])


def conflicts() -> str:
    """Return the table of the conflicts of reconciliation."""
    return table(
        ("conflict", "what it is, and its one rule"), [(f"`{name}`", rule) for name, rule in CONFLICTS.items()]
    )


PARTS: dict[str, Callable[[], str]] = {
    part.__name__.replace("_", "-"): part for part in (tasks, settings, bot_commands, outcomes, conflicts)
}


def rendered(text: str) -> str:
    """Return a document with its generated parts brought up to date."""
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        body = part().replace("\\", "\\\\")
        text = pattern.sub(rf"\1\n{body}\n\n\2", text)
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        file = ROOT / document
        file.write_text(rendered(file.read_text()))
