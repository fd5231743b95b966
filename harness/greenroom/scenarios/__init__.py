"""Restart and failure scenarios for any bot, judged by what the bot promises."""

from greenroom.scenarios.catalogue import CATALOGUE
from greenroom.scenarios.judge import Result, Verdict, chosen_scenarios, judge, judge_all, play, table
from greenroom.scenarios.load import load_promises
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises
from greenroom.scenarios.stage import Stage

__all__ = [
    "CATALOGUE",
    "NOT_PROMISED",
    "BotPromises",
    "Result",
    "Stage",
    "Verdict",
    "chosen_scenarios",
    "judge",
    "judge_all",
    "load_promises",
    "play",
    "table",
]
