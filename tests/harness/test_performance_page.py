"""docs/performance.md and its plots are made from reports alone."""

from __future__ import annotations

from xml.etree import ElementTree

from docs import performance
from docs.plot import Axis, Point, drawn
from tests.bench.report import Report
from tests.bench.side_by_side import RESULTS


def warm() -> Report:
    found = Report("warm", "Many homeservers.\n\nAt once.", rounds=3, sizes="servers at once", made="2026-01-05 10:04")
    for size in (1, 4):
        found.figure("greenroom", [0.1 * size, 0.2, 0.3 * size], size=size)
        found.figure("plain start", [size], size=size)
    found.figure("measured once", [1.0], size=4)
    found.target("five at once", found.figure("five", [0.6]), found.figure("one", [1.0]), at_most=0.4)
    found.gap("1 start", "no warm parent")
    return found


def keep(folder, monkeypatch, *reports: Report) -> None:
    monkeypatch.setattr(performance, "FOLDER", folder)
    for one in reports:
        (folder / f"{one.name}.json").write_text(one.document())


def test_a_benchmark_has_a_section_with_its_tables_and_its_plot(tmp_path, monkeypatch):
    """A missed target and what was not measured stand in it as plainly as the rest."""
    keep(tmp_path, monkeypatch, warm())

    text = performance.performance()

    assert text.startswith("## warm\n\nMany homeservers.\n\nAt once.\n\n")
    assert "| five at once | 0.60x | at most 0.40x | MISSED |" in text
    assert "| 1 start | not measured | no warm parent |" in text
    assert "| greenroom, 4 servers at once | 0.4 s | 0.2 to 1.2 |" in text
    assert "](performance/warm.svg)" in text
    assert "Measured on 2026-01-05 10:04 UTC" in text


def test_sections_are_in_one_order_and_missing_results_are_left_out(tmp_path, monkeypatch):
    """A benchmark that this machine has never run has no section."""
    keep(tmp_path, monkeypatch, Report("dev", "Later."), Report("start", "First."))

    text = performance.performance()

    assert text.index("## start") < text.index("## dev")
    assert "## warm" not in text


def test_a_plot_has_a_line_for_each_way_with_its_name_and_its_values(tmp_path, monkeypatch):
    """Only figures with several sizes become lines."""
    keep(tmp_path, monkeypatch, warm())

    ((path, text),) = performance.plots().items()
    picture = ElementTree.fromstring(text)
    texts = ["".join(one.itertext()) for one in picture.iter("{http://www.w3.org/2000/svg}text")]

    assert path.name == "warm.svg"
    assert {"greenroom", "plain start", "servers at once", "0.2", "0.4", "4"} <= set(texts)
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert not {"five", "measured once"} & set(texts)


def test_equal_ratios_are_equal_distances():
    """The axes are logarithmic."""
    axis = Axis(0.1, 10, 0, 200)

    assert [axis(value) for value in (0.1, 1, 10)] == [0, 100, 200]
    assert axis.steps() == [0.1, 0.2, 0.5, 1, 2, 5, 10]


def test_names_of_lines_that_end_together_do_not_cover_each_other():
    """They stand one below the other."""
    point = [Point(1, 1, 1, 1), Point(2, 1, 1, 1)]
    picture = ElementTree.fromstring(drawn("Title", "servers", "seconds", {"one": point, "two": point}))
    heights = {"".join(one.itertext()): float(one.get("y", 0)) for one in picture.iter() if one.tag.endswith("text")}

    assert heights["two"] - heights["one"] >= 16


def test_the_last_results_are_taken_over_from_where_benchmarks_write_them(tmp_path, monkeypatch):
    """`python -m docs.render --bench` replaces the results that it finds, and keeps the others."""
    keep(tmp_path, monkeypatch, Report("dev", "Old."), Report("seed", "Old."))
    monkeypatch.setattr(performance, "RESULTS", tmp_path / "latest")
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "dev.json").write_text(Report("dev", "New.").document())

    performance.take_over()

    assert RESULTS.parts[-2:] == (".greenroom", "bench")
    assert [one.about for one in performance.reports()] == ["Old.", "New."]
