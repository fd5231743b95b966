"""The bots of the zoo that nobody asked for are skipped, before anything is started for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.errors import Misuse
from tests.zoo.choice import NOT_ASKED_FOR, chosen

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of these bots as skipped. Raises UsageError for a bot that there is not."""
    try:
        asked = chosen(config.getoption("--zoo"))
    except Misuse as error:
        raise pytest.UsageError(str(error)) from None
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("zoo") and item.callspec.params["name"] not in asked:
            item.add_marker(pytest.mark.skip(reason=NOT_ASKED_FOR))
