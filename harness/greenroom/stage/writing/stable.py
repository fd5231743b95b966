"""What of a text stays the same in every run: a test can expect that, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SHORTEST = 3  # characters of a part that says something
VARIES = re.compile(
    r"""
      \S*matrix\.to/\S+                           # a link to a room or an event
    | https?://(?:127\.0\.0\.1|localhost)\S*      # a port differs
    | !\S{8,}                                     # a room id
    | \$[\w+/-]{20,}                              # an event id
    | \b\d{4}-\d\d-\d\d(?:[T ][\d:.]+\S*)?        # a date
    | \b\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?(?:\ ?[ap]m)?  # a time of day
    | \b\d+(?:\.\d+)?\ ?(?:ms|s|sec|secs|seconds?|min|minutes?|h|hours?|d|days?)\b  # a duration
    | \b[0-9a-f]{8}-[0-9a-f-]{27}\b               # a UUID
    | \b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b             # a hash, or a long number
    | (?<!\w)/[\w.-]+/\S+                       # a path on this machine
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Stable:
    """What to expect of a text: all of it, a part, or with neither just any text."""

    whole: str | None = None
    part: str | None = None


def stable(text: str, *, asked: str = "", varying: Iterable[str] = ()) -> Stable:
    """Return what stays of a text. What the question `asked` contains stays; `varying` texts do not, such as names."""
    own = [re.escape(word) for word in varying if word]
    found = re.compile(f"{'|'.join(own)}", re.IGNORECASE).finditer(text) if own else iter(())
    spans = [match.span() for match in found]
    spans += [match.span() for match in VARIES.finditer(text) if match.group() not in asked]
    if not spans:
        return Stable(whole=text)
    parts, begin = [], 0
    for start, end in sorted(spans):
        parts.append(text[begin : max(begin, start)])
        begin = max(begin, end)
    parts.append(text[begin:])
    longest = max((line.strip() for part in parts for line in part.splitlines()), key=len, default="")
    return Stable(part=longest) if len(longest) >= SHORTEST else Stable()
