"""Faults between a bot and its homeserver: a small proxy that breaks what its rules say, and writes everything down."""

from greenroom.faults.proxy import FaultProxy, fault_proxy
from greenroom.faults.rules import Call, Rule
from greenroom.faults.transcript import Entry, Transcript

__all__ = ["Call", "Entry", "FaultProxy", "Rule", "Transcript", "fault_proxy"]
