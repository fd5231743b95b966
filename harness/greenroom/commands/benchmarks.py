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
    """Run one benchmark, or each in turn, and return the first exit code that is not 0.

    Raises Misuse for an unknown name, Unavailable outside a checkout.
    """
    known = names()
    if not known:
        raise Unavailable("a benchmark", "the benchmarks are not in the installed package", "a checkout of Greenroom")
    if name and name not in known:
        raise Misuse(f"no such benchmark: {name!r}; there are {', '.join(known)}")
    codes = [_run(name, split(arguments))] if name else [_run(each) for each in known]
    return next((code for code in codes if code), 0)


def _run(name: str, arguments: Sequence[str] = ()) -> int:
    command = [sys.executable, "-m", f"tests.bench.{name}{SUFFIX}", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode
