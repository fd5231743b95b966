"""What a room may be called, by whoever names it: a person, another client, an old identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom_bot.matrix.ids import ChatId
from greenroom_bot.rooms.titles import TITLE_MAX, clean_title, title_or_default
from tests.bot.factory import ALICE
from tests.bot.test_planner_properties import quick

FAMILY = "👨\u200d👩\u200d👧"
titles = st.text() | st.text("ab \n\u2028\u0301\u200d\u202e\ud800👍🏽", max_size=3 * TITLE_MAX)


@pytest.mark.parametrize(
    ("title", "clean"),
    [
        ("  Plans   for\tMay ", "Plans for May"),
        ("two\nlines\u2028more\u0085and\u2029more", "two lines more and more"),
        ("nul\x00 bell\x07 escape\x1b[31m", "nul bell escape[31m"),
        ("\u202eevil\u202c \u2066x\u2069 \u200el\u200fr\u061c", "evil x lr"),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
        ("lone \ud800surrogate\udfff", "lone surrogate"),
        (f"family {FAMILY} 👍🏽 ❤️", f"family {FAMILY} 👍🏽 ❤️"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u202e\u0000 \u200d\ufe0f", ""),
        ("", ""),
    ],
)
def test_a_title_is_one_line_without_hidden_characters(title, clean):
    """Lines become one; control characters, direction marks and surrogates go; joined emoji and letters stay."""
    assert clean_title(title) == clean


@pytest.mark.parametrize(
    "ending", [FAMILY, "👍🏽", "e\u0301", "❤\ufe0f"], ids=["family", "skin tone", "accent", "heart"]
)
def test_a_long_title_is_cut_before_a_character_that_would_be_torn(ending):
    """A title is cut to TITLE_MAX code points, or before them where an emoji or an accented letter would be torn."""
    assert clean_title("x" * (TITLE_MAX - 1) + ending + "y") == "x" * (TITLE_MAX - 1)
    assert clean_title("x" * (TITLE_MAX - len(ending)) + ending + "y" * 60_000).endswith(ending)
    assert len(clean_title("e" + "\u0301" * 500)) == TITLE_MAX


@quick
@given(titles)
def test_every_title_is_bounded_printable_and_stays_as_it_is_once_clean(title):
    """Cleaning is bounded, makes text that a database takes, and changes nothing the second time."""
    clean = clean_title(title)

    assert len(clean) <= TITLE_MAX
    assert clean.encode().decode() == " ".join(clean.split())
    assert clean_title(clean) == clean


@pytest.mark.parametrize(("chat_id", "name"), [("C3", "Chat 3"), ("space", "Chats of alice")])
def test_a_title_without_anything_visible_is_the_default_name(chat_id, name):
    """An untitled chat is named by its number, an untitled Space by its owner."""
    assert title_or_default("\u202e \u200d", ChatId(chat_id), ALICE) == name
    assert title_or_default("Mine", ChatId(chat_id), ALICE) == "Mine"
