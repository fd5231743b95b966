"""One thing that `doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at and what was seen. `needed` ones decide the exit code; a bad one has a one-line cure."""

    what: str
    good: bool
    seen: str
    cure: str = ""
    needed: bool = True

    def __str__(self) -> str:
        mark = "ok" if self.good else "MISSING" if self.needed else "absent"
        return f"{mark:<8} {self.what}: {self.seen}" + (f"\n         cure: {self.cure}" if self.cure else "")
