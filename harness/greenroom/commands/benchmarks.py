"""`bench`: run the benchmarks of a checkout, each a module of its own in tests/bench/."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from greenroom.commands.images.catalog import CHECKOUT
from greenroom.commands.reporting import split
from greenroom.errors import Misuse, Unavailable

SUFFIX = "_bench"


def names() -> list[str]:
    """List the benchmarks of this checkout."""
    return sorted(path.stem.removesuffix(SUFFIX) for path in (CHECKOUT / "tests" / "bench").glob(f"*{SUFFIX}.py"))


def run_benchmarks(name: str = "", arguments: str = "") -> int:
    """Run one benchmark, or each in turn: exit 0 targets met, 1 one missed, 3 one could not be measured.

    Raises Misuse for an unknown name, Unavailable outside a checkout.
    """
    known = names()
    if not known:
        raise Unavailable("a benchmark", "the benchmarks are not in the installed package", "a checkout of Greenroom")
    if name and name not in known:
        raise Misuse(f"no such benchmark: {name!r}; there are {', '.join(known)}")
    if arguments and not name:
        raise Misuse(f"--args needs the name of one benchmark: {', '.join(known)}")
    commands = [command(each, split(arguments)) for each in ([name] if name else known)]
    return verdict([subprocess.run(each, cwd=CHECKOUT, check=False).returncode for each in commands])


def command(name: str, arguments: Sequence[str] = ()) -> list[str]:
    """Return the command line of a benchmark."""
    return [sys.executable, "-m", f"tests.bench.{name}{SUFFIX}", *arguments]


def verdict(codes: Sequence[int]) -> int:
    """Return one exit code for several: a missed target counts more than a benchmark that measured nothing."""
    return 1 if 1 in codes else next((code for code in codes if code), 0)
