"""Benchmarks are part of a checkout, not of the installed package."""

from __future__ import annotations

import pytest

from greenroom.commands import benchmarks
from greenroom.errors import Misuse, Unavailable


def test_an_unknown_benchmark_is_refused_with_the_known_names():
    """The message is one line, and nothing is run."""
    with pytest.raises(Misuse, match="no such benchmark: 'sleep'; there are reconcile, reset, start"):
        benchmarks.run_benchmarks("sleep")


def test_outside_a_checkout_the_absence_of_benchmarks_is_an_error(tmp_path, monkeypatch):
    """Running none without a word would look like success."""
    monkeypatch.setattr(benchmarks, "CHECKOUT", tmp_path)

    with pytest.raises(Unavailable, match="not in the installed package"):
        benchmarks.run_benchmarks()
