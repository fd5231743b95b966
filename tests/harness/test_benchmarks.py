"""Benchmarks belong to the checkout."""

from __future__ import annotations

import pytest

from greenroom.commands import benchmarks
from greenroom.errors import Misuse, Unavailable


def test_an_unknown_benchmark_is_refused_with_the_known_names():
    """One line, and nothing is run."""
    with pytest.raises(Misuse, match="no such benchmark: 'sleep'; there are reconcile, reset, start"):
        benchmarks.run_benchmarks("sleep")


def test_outside_a_checkout_there_are_none_and_that_is_said(tmp_path, monkeypatch):
    """Silence would look like success."""
    monkeypatch.setattr(benchmarks, "CHECKOUT", tmp_path)

    with pytest.raises(Unavailable, match="not in its package"):
        benchmarks.run_benchmarks()
