"""Restart and failure scenarios that any bot can be given to, judged against what it promises."""

from greenroom.scenarios.catalogue import CATALOGUE
from greenroom.scenarios.judge import Result, Verdict, chosen_scenarios, judge, judge_all, play, table
from greenroom.scenarios.promises import NOT_PROMISED, BotPromises, load_promises
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
