"""Everything in this folder runs against a real homeserver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.dev_project import project  # noqa: F401 - a fixture for every file here
from tests.e2e.sharing import cache  # noqa: F401 - likewise

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `e2e`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
