"""Everything that docs/asking-and-answering.md shows is run, beside the bots of the gallery that it names."""

from __future__ import annotations

import re
import shutil
from typing import get_args

import pytest

from greenroom.people.answers import Kind
from greenroom.people.asking import Way
from greenroom.scenarios import BotPromises
from tests.examples.test_examples import HEADER, HERE, elsewhere, run_pytest

GUIDE = (HERE.parents[1] / "docs" / "asking-and-answering.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
GALLERY = HERE.parent / "gallery"

pytestmark = pytest.mark.e2e
__all__ = ["elsewhere"]  # a fixture


def test_every_piece_of_code_of_the_guide_runs(elsewhere):
    """Every piece of code runs as it is shown."""
    for name in {"good.py", *re.findall(r'"python (\w+\.py)"', GUIDE)}:
        shutil.copy(GALLERY / name, elsewhere)
    (elsewhere / "test_guide.py").write_text(HEADER + "\n\n".join(SNIPPETS))

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto")

    assert answer.returncode == 0, answer.stdout
    assert re.search(rf"^=+ {len(SNIPPETS)} passed\b", answer.stdout, re.MULTILINE)


def test_the_guide_names_every_kind_of_answer_and_every_way_to_ask():
    """A new kind or way needs its place in the guide."""
    assert [kind for kind in Kind if f"`{kind}`" not in GUIDE] == []
    assert [way for way in Way if way is not Way.PLAIN and f'way="{way}"' not in GUIDE] == []
    assert get_args(BotPromises.model_fields["ask_as"].annotation) == tuple(Way)
