"""Faults between a bot and its homeserver: a small proxy that breaks requests by rule and records all of them."""

from greenroom.faults.exchange import Action, Answer, Call, Cut, Exchange, Outcome
from greenroom.faults.proxy import FaultProxy, fault_proxy
from greenroom.faults.rules import Rule
from greenroom.faults.transcript import Entry, Transcript

__all__ = [
    "Action",
    "Answer",
    "Call",
    "Cut",
    "Entry",
    "Exchange",
    "FaultProxy",
    "Outcome",
    "Rule",
    "Transcript",
    "fault_proxy",
]
