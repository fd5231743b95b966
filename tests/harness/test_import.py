"""`import greenroom` is instant, and its four public modules are there at their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import greenroom

HEAVY = {"nio", "aiohttp", "docker", "testcontainers", "pydantic", "yaml", "rich", "pytest", "asyncio", "typing"}


def python(code: str) -> str:
    """Run code in a Python that has imported nothing yet; return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_no_other_module_and_takes_under_a_tenth_of_a_second():
    """The package imports nothing, neither of its own nor of others."""
    show = "import time; began = time.perf_counter(); import greenroom; print(time.perf_counter() - began)"
    before = "import sys; before = set(sys.modules)"

    seconds, *loaded = python(f"{before}; {show}; print(*sorted(set(sys.modules) - before), sep='\\n')").split()

    assert float(seconds) < 0.1
    assert {name for name in loaded if name.startswith("greenroom")} == {"greenroom"}
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("name", greenroom.__all__)
@pytest.mark.parametrize("way", ["from greenroom import {0}", "import greenroom; {0} = greenroom.{0}"])
def test_each_public_name_is_a_module_however_it_is_imported(name, way):
    """Both ways of importing work in a Python that has loaded nothing of Greenroom."""
    assert python(f"{way.format(name)}; print({name}.__name__)") == f"greenroom.{name}\n"


def test_a_star_import_brings_the_four_modules():
    """`__all__` is the public interface."""
    code = "from greenroom import *; print(checks.__name__, faults.__name__, must.__name__, never.__name__)"

    assert python(code).split() == [f"greenroom.{name}" for name in ("checks", "faults", "must", "never")]


def test_the_public_names_are_listed_before_they_are_loaded():
    """An interactive shell completes them."""
    assert set(python("import greenroom; print(*dir(greenroom))").split()) >= set(greenroom.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones():
    """A typing mistake does not end in an import error of something else."""
    with pytest.raises(AttributeError, match=r"no attribute 'mustard'; it has checks, faults, must, never"):
        greenroom.mustard  # noqa: B018 - reading it is the test
