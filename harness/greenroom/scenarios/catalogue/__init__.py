"""The scenarios, one module per kind of bot, in the order of the table.

A scenario only acts, and leaves a record. Its rules judge the record, as pure functions. To prove an absence, a
scenario asks later questions and waits for their answers.
"""

from greenroom.scenarios.catalogue import basic, encrypted
from greenroom.scenarios.scenario import CATALOGUE, find_scenario, scenarios_for

__all__ = ["CATALOGUE", "basic", "encrypted", "find_scenario", "scenarios_for"]
