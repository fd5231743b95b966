"""`show`: which page a person means, and how it is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.commands.show import find_page, newest_page
from greenroom.errors import Misuse


def page(path: Path, age_s: float = 0) -> Path:
    """Write a page that is so old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<html>")
    os.utime(path, (1_700_000_000 - age_s,) * 2)
    return path


def test_a_bundle_a_page_a_run_or_the_newest_below_a_folder(tmp_path):
    """Whatever a person names leads to one page; of a run with a table, to the table."""
    report = page(tmp_path / "run1" / "bundle" / "report.html", age_s=10)
    newer = page(tmp_path / "run2" / "bundle" / "report.html")
    index = page(tmp_path / "run2" / "index.html")

    assert find_page(report) == find_page(report.parent) == find_page(tmp_path / "run1") == report
    assert find_page(newer.parent) == newer
    assert find_page(index.parent) == index
    assert newest_page(tmp_path) in (index, newer)


@pytest.mark.parametrize("what", ["missing", "empty", "timeline.txt"])
def test_what_has_no_page_is_refused_in_one_line(tmp_path, what):
    """The line says what has one."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "timeline.txt").write_text("x")

    with pytest.raises(Misuse) as refused:
        find_page(tmp_path / what)

    assert str(refused.value).count("\n") == 0
    assert what in str(refused.value)


def test_the_command_opens_the_newest_page_in_the_browser(tmp_path):
    """It prints the path too, so that a machine without a browser is no dead end."""
    report = page(tmp_path / ".greenroom" / "failures" / "now" / "bundle" / "report.html")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    env = {**os.environ, "BROWSER": f"{browser} %s"}

    done = subprocess.run(
        [sys.executable, "-m", "greenroom", "show"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{report}\n"
    assert (tmp_path / "opened").read_text().strip() == report.as_uri()
