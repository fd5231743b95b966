"""Write down what a bot does as promises with comments: the promises file of a first contact."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import yaml

from greenroom.errors import Misuse
from greenroom.scenarios.findings import Verdict
from greenroom.scenarios.judge import Result
from greenroom.scenarios.promises import BotPromises

WIDTH = 100
HEAD = """\
# What this bot did when Greenroom tried it. From now on these are its promises: `greenroom scenarios --promises FILE`
# fails when the bot breaks one. `no`: not promised, and not tried any more. Change a line when you change the bot.
"""


def check_new(path: Path) -> None:
    """Check that a promises file can be written. Raises Misuse if it exists, or its folder does not."""
    if path.exists():
        raise Misuse(
            f"{path} exists already, and --write would replace it; name another file, or use --promises {path}"
        )
    if not path.parent.is_dir():
        raise Misuse(f"{path} cannot be written: there is no folder {path.parent}")


def promises_text(promises: BotPromises, results: Iterable[Result]) -> str:
    """Return the text of a promises file: the bot, and a line for each scenario with what was seen."""
    bot = promises.model_dump(mode="json", exclude_defaults=True, exclude={"promises", "cwd"})
    lines = [
        HEAD,
        yaml.safe_dump({"version": 1, **bot}, sort_keys=False, allow_unicode=True, width=WIDTH),
        "promises:\n",
    ]
    for result in results:
        lines += [_line(result)]
    return "".join(lines)


def _line(result: Result) -> str:
    if result.verdict in (Verdict.PASSED, Verdict.DOES):
        warnings = "".join(f"{_comment(f'warning: {warning}')}\n" for warning in result.warnings)
        return f"{warnings}  {result.scenario}: {result.way}{_kinds(result)}\n"
    comment = _comment(f"{result.verdict}: {result.why}")
    if result.verdict is Verdict.INCONCLUSIVE:
        return f"{comment}\n  # {result.scenario}:\n"
    return f"{comment}\n  {result.scenario}: {'no' if result.verdict is not Verdict.FAILED else result.way}\n"


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="  # ", subsequent_indent="  # ")


def _kinds(result: Result) -> str:
    """Return how the bot answered, as a comment beside the scenario that is about answers."""
    seen = result.observed
    if seen is None or result.scenario != "answers":
        return ""
    kinds = {str(answer.kind) for question in seen.questions for answer in seen.answers_to(question)}
    return f"  # as {' and '.join(sorted(kinds))}"
