"""Benchmarks: ours and the bare way take turns, medians are judged, and the exit code is the verdict."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys

import pytest

from greenroom.commands import benchmarks
from greenroom.errors import HarnessError, Misuse, StartFailed, Unavailable
from tests.bench.report import Figure, Report, Target
from tests.bench.side_by_side import counts, main, take_turns

NAMES = ["dev", "memory", "reconcile", "reset", "restore", "seed", "start", "warm"]


def figure(*values: float, name: str = "ours") -> Figure:
    return Figure(name, values)


def test_the_benchmarks_of_a_checkout_are_found():
    """Each is a module of its own; the help and the documents name the same ones."""
    assert benchmarks.names() == NAMES


def test_an_unknown_benchmark_is_refused_with_the_known_names():
    """The message is one line, and nothing is run."""
    with pytest.raises(Misuse, match=f"no such benchmark: 'sleep'; there are {', '.join(NAMES)}"):
        benchmarks.run_benchmarks("sleep")


def test_outside_a_checkout_the_absence_of_benchmarks_is_an_error(tmp_path, monkeypatch):
    """Running none without a word would look like success."""
    monkeypatch.setattr(benchmarks, "CHECKOUT", tmp_path)

    with pytest.raises(Unavailable, match="not in the installed package"):
        benchmarks.run_benchmarks()


@pytest.mark.parametrize(("codes", "whole"), [([0, 0], 0), ([0, 3], 3), ([3, 1], 1), ([130, 0], 130)])
def test_a_missed_target_outweighs_a_benchmark_without_a_result(codes, whole):
    """The exit code of all benchmarks is 1 if one of them missed a target, also after one that measured nothing."""
    assert benchmarks.verdict(codes) == whole


async def test_the_ways_take_turns_in_going_first():
    """A way that always came second would find the caches of the first one."""
    order = []

    async def way(name: str) -> float:
        order.append(name)
        return 1.0

    await take_turns({"ours": lambda: way("ours"), "bare": lambda: way("bare")}, rounds=2)

    assert order == ["ours", "bare", "bare", "ours", "ours", "bare"]


async def test_the_first_round_warms_up_and_is_not_counted():
    """The first round pays for what is made once."""
    values = iter([100.0, 2.0, 3.0])

    async def way() -> float:
        return next(values)

    assert await take_turns({"ours": way}, rounds=2) == {"ours": [2.0, 3.0]}


async def test_one_way_may_measure_several_things():
    """Each gets a figure of its own, in the order of the ways."""

    async def both() -> dict[str, float]:
        return {"first": 1.0, "further": 2.0}

    async def bare() -> float:
        return 3.0

    found = await take_turns({"ours": both, "bare": bare}, rounds=1)

    assert list(found.items()) == [("first", [1.0]), ("further", [2.0]), ("bare", [3.0])]


def test_medians_are_compared_and_not_means():
    """One disturbed round does not decide."""
    target = Target.of("start", figure(1, 1, 50), figure(2, 2, 2), at_most=0.5)

    assert (target.ratio, target.met) == (0.5, True)


@pytest.mark.parametrize(
    ("bound", "ratio", "met"),
    [
        ({"at_most": 2.0}, 2.0, True),
        ({"at_most": 1.99}, 2.0, False),
        ({"at_least": 0.5}, 0.5, True),
        ({"at_least": 0.51}, 0.5, False),
    ],
)
def test_a_bound_is_how_slow_ours_may_be_or_how_fast_it_must_be(bound, ratio, met):
    """Ours takes twice as long here: 2x of the time, and half of the throughput."""
    target = Target.of("start", figure(4), figure(2), **bound)

    assert (target.ratio, target.met) == (ratio, met)


def report(*, met: bool | None = None, holds: bool | None = None) -> Report:
    made = Report("start", "How fast it is.", rounds=1)
    if met is not None:
        made.target("start", made.figure("ours", [1.0]), made.figure("bare", [2.0]), at_most=1.0 if met else 0.1)
    if holds is not None:
        made.check("nothing is left", holds, "0 processes")
    return made


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report(met=True), 0),
        (report(met=False), 1),
        (report(met=True, holds=False), 1),
        (report(holds=True), 0),
        (report(), 3),
    ],
)
def test_the_exit_code_says_met_missed_or_nothing_judged(found, code):
    """0, 1 and 3, as for scenarios."""
    assert found.exit_code == code


def test_the_table_has_ratio_target_verdict_and_what_was_not_measured():
    """All that a person needs stands in the printed lines."""
    found = report(met=False, holds=True)
    found.sizes = "rooms"
    found.figure("ours", [0.12345, 0.5, 1.25], size=500)
    found.gap("containers", "no engine")

    text = "\n".join(found.lines())

    assert "ours, 500 rooms   0.5 s   0.123 to 1.25" in text
    assert "start   0.50x   at most 0.10x   MISSED" in text
    assert "nothing is left   met" in text
    assert "containers        not measured   no engine" in text


def test_a_report_is_read_back_as_it_was_written():
    """The documents are made from the JSON alone."""
    found = report(met=True, holds=False)
    found.figure("ours", [1.0, 2.0], "MiB", 10)
    found.gap("containers", "no engine")
    found.notes.append("the first one: 2 s")

    assert Report.read(found.document()) == found


def run_main(tmp_path, measure, *arguments: str) -> tuple[int, Report | None]:
    path = tmp_path / "results" / "start.json"
    code = main("start", "How fast it is.", measure, ["--json", str(path), *arguments], rounds=5, rooms="10")
    return code, Report.read(path.read_text()) if path.exists() else None


def test_a_run_prints_its_table_and_writes_its_json(tmp_path, capsys):
    """Options come from the command line or are the benchmark's own defaults."""

    async def measure(report, options):
        assert options.rooms == "10"
        found = report.timed({"ours": [1.0] * options.rounds, "bare": [2.0]})
        report.target("start", found["ours"], found["bare"], at_most=0.4)

    code, written = run_main(tmp_path, measure, "--rounds", "2")

    assert code == 1
    assert written is not None
    assert written.figures[0] == Figure("ours", (1.0, 1.0))
    assert "start   0.50x   at most 0.40x   MISSED" in capsys.readouterr().out


def test_a_failure_is_a_gap_and_keeps_what_was_found_before(tmp_path):
    """A benchmark that breaks off still tells what it has judged."""

    async def measure(report, options):
        report.target("start", report.figure("ours", [1.0]), report.figure("bare", [1.0]), at_most=2)
        raise HarnessError("the engine stopped answering\nand more")

    code, written = run_main(tmp_path, measure)

    assert code == 0
    assert written is not None
    assert [(gap.what, gap.why) for gap in written.gaps] == [("the rest", "the engine stopped answering")]


def test_one_of_several_at_the_same_moment_may_fail(tmp_path, capsys):
    """Its failure is the reason, and not the group that it comes in."""

    async def measure(report, options):
        raise ExceptionGroup("several", [StartFailed("homeserver", "port 80 may not be used")])

    code, _ = run_main(tmp_path, measure)

    assert code == 3
    assert "not measured   homeserver did not start: port 80 may not be used" in capsys.readouterr().out


def test_a_mistake_of_the_benchmark_itself_is_not_hidden(tmp_path):
    """Only a server or the machine can be the reason for a gap."""

    async def measure(report, options):
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run_main(tmp_path, measure)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_ends_what_it_runs_and_writes_nothing(number, tmp_path):
    """Half of the rounds are no result. The servers of a benchmark that `kill` or a time limit ends are ended too."""
    ended = []

    async def measure(report, options):
        report.figure("ours", [1.0])
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            ended.append("the server")

    assert run_main(tmp_path, measure) == (130, None)
    assert ended == ["the server"]


def test_a_result_that_cannot_be_written_is_one_line(tmp_path, capsys):
    """The table was printed before."""

    async def measure(report, options):
        report.figure("ours", [1.0])

    (tmp_path / "results").touch()
    with pytest.raises(SystemExit) as ended:
        run_main(tmp_path, measure)

    assert ended.value.code == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_benchmark_that_measures_nothing_exits_3_and_keeps_the_last_result(tmp_path, capsys):
    """An empty result would replace a good one."""

    async def measure(report, options):
        raise Unavailable("Synapse", "it is not installed", "pip install it")

    code, written = run_main(tmp_path, measure)

    assert (code, written) == (3, None)
    assert "not measured   Synapse is not available" in capsys.readouterr().out


def test_no_rounds_are_refused(tmp_path, capsys):
    """One clear line and exit code 2, and nothing is measured."""
    with pytest.raises(SystemExit) as ended:
        run_main(tmp_path, None, "--rounds", "0")

    assert ended.value.code == 2
    assert "--rounds must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_what_it_compares(name, capsys, monkeypatch):
    """`--help` starts nothing, and has the benchmark's own options."""
    monkeypatch.setattr(sys, "argv", [name, "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"tests.bench.{name}_bench", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: bench {name} [-h] [--json JSON] [--rounds ROUNDS]")


@pytest.mark.parametrize("text", ["ten", "", "0,10", "10,,100"])
def test_a_bad_list_of_numbers_is_refused(text, tmp_path, capsys):
    """One clear line and exit code 2, and no result."""

    async def measure(report, options):
        counts(options.rooms)

    with pytest.raises(SystemExit) as ended:
        run_main(tmp_path, measure, "--rooms", text)

    assert ended.value.code == 2
    assert f"not numbers from 1 on, with commas between them: {text!r}" in capsys.readouterr().err


def test_numbers_are_measured_in_ascending_order():
    """The last one is the largest, whatever the order on the command line."""
    assert counts("100,10") == [10, 100]
