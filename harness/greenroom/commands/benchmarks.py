"""`bench`: run the measurements of the checkout, each a module of its own in tests/bench/."""

from __future__ import annotations

import os
import subprocess
import sys

from greenroom.commands.images.catalog import CHECKOUT
from greenroom.commands.reporting import run_tool
from greenroom.errors import Misuse, Unavailable

SUFFIX = "_bench"


def names() -> list[str]:
    """List the benchmarks that this checkout has."""
    return sorted(path.stem.removesuffix(SUFFIX) for path in (CHECKOUT / "tests" / "bench").glob(f"*{SUFFIX}.py"))


def run_benchmarks(name: str = "", arguments: str = "") -> int:
    """Run one benchmark, or each in turn; give the first exit code that is not 0. Raises Misuse for an unknown name."""
    known = names()
    if not known:
        raise Unavailable("a benchmark", "they are in Greenroom's repository, not in its package", "a checkout of it")
    if name and name not in known:
        raise Misuse(f"no such benchmark: {name!r}; there are {', '.join(known)}")
    os.chdir(CHECKOUT)
    if name:
        return run_tool(f"tests.bench.{name}{SUFFIX}", arguments)
    codes = [
        subprocess.run([sys.executable, "-m", f"tests.bench.{each}{SUFFIX}"], check=False).returncode for each in known
    ]
    return next((code for code in codes if code), 0)
