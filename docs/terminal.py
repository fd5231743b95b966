"""The screen of a terminal: text and colours that a program wrote, as a person sees them at the end.

It understands what rich and our own progress lines write: colours, carriage return, cursor up, and erasing. Lines that
have scrolled away stay, so a recording shows the whole run.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter

from rich.text import Text

TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|([\r\n\t\b])|([^\x00-\x1f\x7f])")
BLANK = (" ", "")


class Screen:
    """A screen of a fixed width, as long as what was written on it."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._rows: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ""

    def write(self, text: str) -> None:
        """Write text with control sequences. Sequences that move no text and colour nothing are ignored."""
        for numbers, final, control, letter in TOKEN.findall(text):
            if letter:
                self._put(letter)
            elif control:
                self._control(control)
            elif final:
                self._sequence(numbers, final)

    def _put(self, letter: str) -> None:
        if self._column == self._columns:
            self._new_line()
        row = self._rows[self._row]
        row.extend([BLANK] * (self._column + 1 - len(row)))
        row[self._column] = (letter, self._style)
        self._column += 1

    def _control(self, control: str) -> None:
        if control == "\n":
            self._row_down()
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(0, self._column - 1)
        else:
            self._column = min(self._columns - 1, self._column // 8 * 8 + 8)

    def _sequence(self, numbers: str, final: str) -> None:
        row = self._rows[self._row]
        if final == "m":
            self._style = "" if numbers in ("", "0") else f"{self._style}\x1b[{numbers}m"
        elif final == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif final == "K" and numbers == "2":
            row.clear()
        elif final == "K" and numbers in ("", "0"):
            del row[self._column :]

    def _new_line(self) -> None:
        self._column = 0
        self._row_down()

    def _row_down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])

    def lines(self) -> list[Text]:
        """Return the rows with their colours, without blanks at their ends and without blank rows at the end."""
        lines = [_line(row) for row in self._rows]
        while lines and not lines[-1].plain:
            lines.pop()
        return lines


def _line(row: list[tuple[str, str]]) -> Text:
    pieces = [(style, "".join(letter for letter, _ in cells)) for style, cells in groupby(row, key=itemgetter(1))]
    line = Text.from_ansi("".join(f"{style}{text}\x1b[0m" for style, text in pieces))
    line.rstrip()
    return line
