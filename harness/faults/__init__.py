"""Faults between a bot and its homeserver: a small proxy that breaks what its rules say, and writes everything down."""

from harness.faults.proxy import FaultProxy, fault_proxy
from harness.faults.rules import Call, Rule
from harness.faults.transcript import Entry, Transcript

__all__ = ["Call", "Entry", "FaultProxy", "Rule", "Transcript", "fault_proxy"]
