"""Options of our own test suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that make short tests long."""
    group = parser.getgroup("greenroom's own tests")
    group.addoption("--crashes", type=int, default=8, metavar="N", help="SIGKILLs in the crash test (long form: 50)")
    group.addoption("--crash-seed", type=int, default=None, metavar="N", help="repeat a crash test's random choices")
