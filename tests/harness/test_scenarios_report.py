"""The page of a scenarios run: each bot in each scenario, leading to the picture of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from greenroom.evidence.report.page import FILE
from greenroom.scenarios.findings import Verdict
from greenroom.scenarios.judge import Result
from greenroom.scenarios.load import parse_promises
from greenroom.scenarios.observed import FILE as OBSERVED
from greenroom.scenarios.observed import Observed, Trouble
from greenroom.scenarios.report import column_of, write_index


def bundle(folder: Path, name: str, scenario: str, *, age_s: int = 0) -> Path:
    """Make the bundle of a bot that never answered."""
    folder.mkdir(parents=True)
    promises = parse_promises({"command": "python bot.py", "name": name}, "test", folder)
    observed = Observed(scenario, promises, trouble=Trouble.NEVER_ANSWERED, problem="no answer at all")
    (folder / OBSERVED).write_text(observed.to_json())
    (folder / FILE).write_text("<html>")
    os.utime(folder, (1_700_000_000 - age_s,) * 2)
    return folder


def cells(index: Path) -> dict[str, list[str]]:
    """The texts of a page's cells, by scenario."""
    html = re.sub(r"<span class=.took.>.*?</span>", "", index.read_text())
    rows = re.findall(r'<th scope="row">(\S+?)<span.*?</th>(.*?)</tr>', html, re.DOTALL)

    def texts(row: str) -> list[str]:
        return [" ".join(re.sub(r"<.*?>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]

    return {name: texts(rest) for name, rest in rows}


def test_this_run_and_what_earlier_runs_left_in_the_folder(tmp_path):
    """A column for each bot; a verdict with a picture is a link to it, relative to the page."""
    bundle(tmp_path / "old", "other", "kicked", age_s=50)
    mine = bundle(tmp_path / "mine", "echo", "answers")
    results = [
        Result("answers", "yes", Verdict.FAILED, bundle=mine),
        Result("kicked", "yes", Verdict.PASSED, seconds=2.04),
        Result("state-lost", "not promised", Verdict.NOT_PROMISED),
    ]

    index = write_index(tmp_path, {"echo": results})

    assert index == tmp_path / "index.html"
    found = cells(index)
    assert found["answers"] == ["✕ failed", "not run"]
    assert found["kicked"][0] == "✓ passed"
    assert found["kicked"][1].startswith("✕ inconclusive")
    assert found["state-lost"] == ["not promised", "not run"]
    assert '<a href="mine/report.html">failed</a>' in index.read_text()
    assert "echo: 1 failed, 1 passed, 1 not promised" in index.read_text()
    assert not re.search(r"https?://", index.read_text())


@pytest.mark.parametrize("version", ["", "12"])
def test_a_column_for_each_room_version(tmp_path, version):
    """What was kept on one room version lies in a folder of its own."""
    folder = tmp_path / f"rooms-{version}" if version else tmp_path
    bundle(folder / "echo-kicked", "echo", "kicked")

    index = write_index(tmp_path, {})

    assert f"<h1>{column_of('echo', version)}: 1 inconclusive</h1>" in index.read_text()


def test_of_two_runs_of_one_bot_the_later_counts(tmp_path):
    """The newest bundle of a scenario is linked."""
    bundle(tmp_path / "b-new", "echo", "answers")
    bundle(tmp_path / "z-old", "echo", "answers", age_s=100)

    assert 'href="b-new/report.html"' in write_index(tmp_path, {}).read_text()


def test_what_a_bot_says_stays_text(tmp_path):
    """A reason may quote a bot."""
    bad = Result("answers", "<img src=x>", Verdict.DOES)

    assert "<img" not in write_index(tmp_path, {"<script>": [bad]}).read_text()
