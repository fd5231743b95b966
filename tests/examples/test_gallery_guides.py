"""Everything that these guides show is run, beside the bot of the gallery that they name."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.examples.test_examples import HEADER, HERE, elsewhere, run_pytest

pytestmark = pytest.mark.e2e
__all__ = ["elsewhere"]  # a fixture


@pytest.mark.parametrize("guide", ["several-homeservers.md", "manners.md"])
def test_every_piece_of_code_of_a_guide_runs(elsewhere, guide):
    """Every piece of code runs as it is shown."""
    text = (HERE.parents[1] / "docs" / guide).read_text()
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    shutil.copy(HERE.parent / "gallery" / "good.py", elsewhere)
    (elsewhere / "test_guide.py").write_text(HEADER + "\n\n".join(snippets))

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto", "--greenroom-backend=process")

    assert answer.returncode == 0, answer.stdout
    assert re.search(rf"^=+ {len(snippets)} passed\b", answer.stdout, re.MULTILINE)
