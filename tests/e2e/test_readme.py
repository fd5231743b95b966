"""What the README shows is what the programs print: everything is run again and compared."""

from __future__ import annotations

import pytest

from docs.picture import text_of
from docs.record import PICTURE, README, Recorded, record
from docs.samples import SAMPLES, sample_in

AGAIN = "the output has changed; run: python -m docs.record"


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """A new run of everything that the README shows."""
    return record()


def test_the_picture_shows_what_dev_prints(recorded):
    """`dev` in a terminal, two messages and Ctrl-C give the lines of the picture."""
    assert text_of(recorded.picture) == text_of(PICTURE.read_text()), AGAIN


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_shows_what_the_commands_print(recorded, name):
    """The commands of a sample print what the README says."""
    assert recorded.samples[name] == sample_in(README.read_text(), name), AGAIN
