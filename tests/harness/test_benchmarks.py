"""The benchmarks are part of the checkout, not of the package."""

from __future__ import annotations

import pytest

from greenroom.commands import benchmarks
from greenroom.errors import Misuse, Unavailable


def test_an_unknown_benchmark_is_refused_with_the_known_names():
    """An unknown benchmark is refused with the names that exist, and nothing runs."""
    with pytest.raises(Misuse, match="no such benchmark: 'sleep'; there are reconcile, reset, start"):
        benchmarks.run_benchmarks("sleep")


def test_without_a_checkout_there_are_no_benchmarks(tmp_path, monkeypatch):
    """Without a checkout, `bench` fails and says so: silence would look like success."""
    monkeypatch.setattr(benchmarks, "CHECKOUT", tmp_path)

    with pytest.raises(Unavailable, match="not in its package"):
        benchmarks.run_benchmarks()
