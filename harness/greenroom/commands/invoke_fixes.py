"""Two things that invoke's parser lacks: an optional positional argument, and exit code 2 for bad usage.

In invoke 2.2 and 3.0 a positional argument without a value is always an error, so `invoke seed` and `invoke seed qa`
cannot both work; and a parse error always exits with 1. Both are decided in methods of ParseMachine, which are replaced
here. A test fails if a later invoke no longer has these methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invoke.exceptions import Exit
from invoke.parser.parser import ParseMachine

from greenroom.spelling import command

MISUSE = 2


def fix_invoke(optional: Mapping[str, str]) -> None:
    """Make the positional argument of each named task optional, with the given default. Exit with 2 on bad usage."""
    complete_context = ParseMachine.complete_context

    def completed(machine: Any) -> None:
        context = machine.context
        if context is not None and context.name in optional:
            for argument in context.missing_positional_args:
                argument.set_value(optional[context.name])
        complete_context(machine)

    def failed(machine: Any, message: str) -> None:
        raise Exit(f"{message} Try: {command('--list')}, or {command('--help TASK')}", code=MISUSE)

    ParseMachine.complete_context = completed  # type: ignore[method-assign,assignment]
    ParseMachine.error = failed  # type: ignore[method-assign,assignment]
