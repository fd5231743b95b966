"""Everything that docs/several-homeservers.md shows is run, beside the bot of the gallery that it names."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.examples.test_examples import HEADER, HERE, elsewhere, run_pytest

GUIDE = (HERE.parents[1] / "docs" / "several-homeservers.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.e2e
__all__ = ["elsewhere"]  # a fixture


def test_every_piece_of_code_of_the_guide_runs(elsewhere):
    """Every piece of code runs as it is shown."""
    shutil.copy(HERE.parent / "gallery" / "good.py", elsewhere)
    (elsewhere / "test_guide.py").write_text(HEADER + "\n\n".join(SNIPPETS))

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto", "--greenroom-backend=process")

    assert answer.returncode == 0, answer.stdout
    assert re.search(rf"^=+ {len(SNIPPETS)} passed\b", answer.stdout, re.MULTILINE)
