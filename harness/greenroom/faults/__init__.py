"""Faults between a bot and its homeserver, in either direction: a proxy breaks requests by rule and records them."""

from greenroom.faults.deliveries import Deliveries, deliveries
from greenroom.faults.exchange import Action, Answer, Call, Cut, Exchange, Outcome
from greenroom.faults.mannered import with_manners
from greenroom.faults.proxy import FaultProxy, fault_proxy
from greenroom.faults.rules import Rule
from greenroom.faults.transcript import Entry, Transcript

__all__ = [
    "Action",
    "Answer",
    "Call",
    "Cut",
    "Deliveries",
    "Entry",
    "Exchange",
    "FaultProxy",
    "Outcome",
    "Rule",
    "Transcript",
    "deliveries",
    "fault_proxy",
    "with_manners",
]
