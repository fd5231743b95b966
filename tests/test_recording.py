"""What the documents are made with: a terminal's screen, the picture of it, and text that is equal in every run."""

from __future__ import annotations

import pytest
from rich.text import Text

from docs.normal import Normaliser
from docs.picture import drawn, text_of
from docs.samples import Command, sample_in, shown, with_samples
from docs.terminal import Screen


def seen(*written: str, columns: int = 20) -> list[str]:
    screen = Screen(columns)
    for text in written:
        screen.write(text)
    return [line.plain for line in screen.lines()]


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("50 %\r100 %\r\n", ["100 %"]),
        ("a longer line\r\x1b[2Kshort\r\n", ["short"]),
        ("a longer line\rshort\x1b[K\r\n", ["short"]),
        ("old\r\nnext\r\n\x1b[2Anew\r\n", ["new", "next"]),
        ("\x1b[?25l\x1b[1;31mred\x1b[0m   \r\n\r\n", ["red"]),
        ("0123456789012345678901234", ["01234567890123456789", "01234"]),
    ],
)
def test_a_screen_shows_what_a_person_sees_at_the_end(written, lines):
    """Lines that were rewritten or erased are gone, long lines are wrapped, and blanks at the end do not count."""
    assert seen(written) == lines


def test_a_picture_has_the_colours_and_the_text_of_the_screen():
    """The text of a picture can be read back from it, with its columns, entities and empty lines."""
    screen = Screen(40)
    screen.write("\x1b[32mbot\x1b[0m     <hello> & bye\r\n\r\n  end\r\n")

    svg = drawn(screen.lines(), 40)

    assert text_of(svg) == ["bot     <hello> & bye", "", "  end"]
    assert "fill: #98a84b" in svg  # green
    assert svg.count('<text class="greenroom-r') == 3  # one for each colour of a line, not one for each letter
    assert ".greenroom-matrix .l2 { animation-delay: 0.24s; }" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")  # a picture in a README can load nothing


def test_two_runs_become_equal_and_two_processes_stay_different():
    """Ports, passwords, pids, times and ids are replaced. Everything else stays."""
    run = Normaliser("/tmp/gabcdefgh", "/src/greenroom", {"alice": "abcdefghijklmnopqrst"})
    first = (
        "http://127.0.0.1:31001 after 2.1 s, pid 7, pid 19, pid 7, alice abcdefghijklmnopqrst\n"
        "homeserver running for 2 min 3 s, pid 19\n"
        "04:03:33 room_id=!T-mI5kfA-pcqAlb1vvys8OXmDc2omYo5-59ytk1S8MI in /tmp/gabcdefgh/.greenroom 22 steps"
    )

    assert run(first) == (
        "http://127.0.0.1:23629 after 1.2 s, pid 21890, pid 21897, pid 21890, alice 7yq2mhd4xk3vjw5tnc6r\n"
        "homeserver running for 12 s, pid 21897\n"
        "10:04:12 room_id=!4kmJcXOkQ_KTzBiY4imSZIgdVflbvxNXYJGFGZXlEGg in /src/greenroom/.greenroom 22 steps"
    )


def test_rooms_are_in_one_order():
    """Room ids are random, and so is the order of lines on rooms. Other lines stay where they are."""
    run = Normaliser("/tmp/gabcdefgh", "/src/greenroom", {})

    assert run("z\r\nroom_drifted room=B\r\nroom_drifted room=A\r\nlive\r\n") == (
        "z\r\nroom_drifted room=A\r\nroom_drifted room=B\r\nlive\r\n"
    )
    assert run("DRIFT\n  !b  left\n  !a  left\n") == "DRIFT\n  !a  left\n  !b  left\n"


def test_a_picture_of_nothing_is_empty():
    """A screen on which nothing was written has no line."""
    assert text_of(drawn([Text("")], 20)) == []


def test_a_sample_says_where_it_leaves_lines_out():
    """One `…` stands for lines that are not shown, and long room ids are cut."""
    output = "a\nb\nkeep !4kmJcXOkQ_KTzBiY4imSZIgdVflbvxNXYJGFGZXlEGg  \nc\n"

    assert shown(Command("run", "^keep"), output) == "$ run\n…\nkeep !4kmJcX…\n…"
    assert shown(Command("run"), "a\n\nb\n") == "$ run\na\n\nb"


def test_a_sample_is_written_where_it_belongs_and_read_back():
    """Only the named part of a document changes, and writing it twice changes nothing."""
    document = "before\n\n<!-- sample one -->\nold\n<!-- /sample -->\n\nafter <!-- sample two -->\n"

    written = with_samples(document, {"one": "$ run\n\\1 it"})

    assert sample_in(written, "one") == "$ run\n\\1 it"
    assert written.startswith("before\n\n<!-- sample one -->\n\n```console\n$ run")
    assert written.endswith("```\n\n<!-- /sample -->\n\nafter <!-- sample two -->\n")
    assert with_samples(written, {"one": "$ run\n\\1 it"}) == written
    with pytest.raises(LookupError, match="sample three"):
        sample_in(document, "three")
