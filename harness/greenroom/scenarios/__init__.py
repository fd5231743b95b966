"""Restart and failure scenarios for any bot, judged by what the bot promises."""

from greenroom.scenarios.catalogue import CATALOGUE, scenarios_for
from greenroom.scenarios.findings import Verdict
from greenroom.scenarios.judge import Result, judge, judge_bundles, play, run, run_all, table
from greenroom.scenarios.load import load_promises
from greenroom.scenarios.observed import Observed
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises
from greenroom.scenarios.stage import Stage

__all__ = [
    "CATALOGUE",
    "NOT_PROMISED",
    "BotPromises",
    "Observed",
    "Result",
    "Stage",
    "Verdict",
    "judge",
    "judge_bundles",
    "load_promises",
    "play",
    "run",
    "run_all",
    "scenarios_for",
    "table",
]
