"""Replace what differs from run to run, so that two runs of the same program print the same text.

Each replacement looks like the real thing and mostly has its length, so lines are wrapped where they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PASSWORDS = {
    "alice": "7yq2mhd4xk3vjw5tnc6r",
    "carol": "p5oz2gkt7fwa4xnlqe3b",
    "dave": "k3mt6ayd2wqh5zrcxe7u",
    "bot": "d3ns6ruvi2ycm7hj4bqk",
}
FIRST_PID = 21890
LINES: tuple[tuple[str, str], ...] = (
    (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:23629"),
    (r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d", r"2026-01-05\g<1>10:04:12"),
    (r"(?<![\d:])\d\d:\d\d:\d\d(?![\d:])", "10:04:12"),
    (r"![A-Za-z0-9_-]{43}", "!4kmJcXOkQ_KTzBiY4imSZIgdVflbvxNXYJGFGZXlEGg"),
    (r"\$[A-Za-z0-9_-]{43}", "$oKnohCs6H_3nlHiMXRYH06iPPd-wucezjrS5a--0kDo"),
    (r"GREENROOM[A-Z]{8}\b", "GREENROOMSACHPVLV"),
    (r"word[0-9a-f]{8}", "word6d2a62f7"),
    (r"('word6d2a62f7' was answered )(\d times|twice)( instead of once).*", r"\g<1>3 times\g<3>"),
    (r"duration_ms=\d+", "duration_ms=4"),
    (r"\b\d+(\.\d+)? ms\b", "4 ms"),
    (r"running for [^,\n]+", "running for 12 s"),
    (r"\b\d+\.\d s\b", "1.2 s"),
    (r"\bin \d+\.\d+s\b", "in 1.20s"),
    (r"((?:passed|failed|inconclusive|does|does not) +)\d\d\.\d( ?)", r"\g<1>1.2\g<2>\g<2>"),  # one space more after it
    (r"((?:passed|failed|inconclusive|does|does not) +)\d\.\d\b", r"\g<1>1.2"),
)
# Lines on drift, one a room. They are in the order of the room ids, which are random.
ROOMS = re.compile(r"(?:^.*\broom_drifted\b.*\n|^  !.*\n){2,}", re.MULTILINE)


class Normaliser:
    """Replacements for one run. Every process keeps one number throughout."""

    def __init__(self, folder: str, shown_folder: str, people: Mapping[str, str]) -> None:
        """`people` has the real password of each localpart."""
        self._words = {folder: shown_folder}
        self._words |= {password: PASSWORDS[name] for name, password in people.items() if name in PASSWORDS}
        self._pids: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the text with everything replaced."""
        for word, shown in self._words.items():
            text = text.replace(word, shown)
        for pattern, shown in LINES:
            text = re.sub(pattern, shown, text)
        text = re.sub(r"\b(pid )(\d+)", lambda found: found[1] + self._pid(found[2]), text)
        return ROOMS.sub(lambda found: "".join(sorted(found[0].splitlines(keepends=True))), text)

    def _pid(self, real: str) -> str:
        return self._pids.setdefault(real, str(FIRST_PID + 7 * len(self._pids)))
