"""Everything that docs/appservices.md shows is run, beside the service of the gallery that it names."""

from __future__ import annotations

import re
import shutil

import pytest

from greenroom.configuration.variables import VARIABLES
from greenroom.scenarios import CATALOGUE
from tests.examples.test_examples import HEADER, HERE, elsewhere, run_pytest

GUIDE = (HERE.parents[1] / "docs" / "appservices.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
GALLERY = HERE.parent / "gallery" / "appservice"

__all__ = ["elsewhere"]  # a fixture


@pytest.mark.e2e
def test_every_piece_of_code_of_the_guide_runs(elsewhere):
    """Every piece of code runs as it is shown."""
    shutil.copy(GALLERY / "good_service.py", elsewhere)
    (elsewhere / "test_guide.py").write_text(HEADER + "\n\n".join(SNIPPETS))

    answer = run_pytest(elsewhere, "-o", "asyncio_mode=auto")

    assert answer.returncode == 0, answer.stdout
    assert re.search(rf"^=+ {len(SNIPPETS)} passed\b", answer.stdout, re.MULTILINE)


def test_the_guide_shows_the_promises_that_the_gallery_judges():
    """`tests/gallery` runs that file."""
    assert f"```yaml\n{(GALLERY / 'good.yaml').read_text()}```" in GUIDE


def test_the_guide_lists_every_scenario_and_variable_of_services():
    """Each scenario has its name and its summary there, and each variable its name."""
    own = [one for one in CATALOGUE.values() if one.act.__module__.endswith(".appservice")]

    assert len(own) == 6
    assert [one.name for one in own if f"| `{one.name}` | {one.summary} |" not in GUIDE] == []
    assert [name for name, variable in VARIABLES.items() if variable.of_service and f"`${{{name}}}`" not in GUIDE] == []
