"""The scenarios, one module per kind of bot.

A scenario only acts, and leaves a record. Its rules judge the record, as pure functions. To prove an absence, a
scenario asks later questions and waits for their answers.
"""

from importlib import import_module

from greenroom.scenarios.scenario import CATALOGUE, find_scenario, scenarios_for

__all__ = ["CATALOGUE", "find_scenario", "scenarios_for"]

for kind in ("basic", "encrypted", "appservice", "triggered", "federated"):  # in the order of the table
    import_module(f"{__name__}.{kind}")
