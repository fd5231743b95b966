"""Names of variables, one for each person, room and event of a script, and texts as Python writes them."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable


class Names:
    """Variables by what they stand for. No two have the same name, and none hides what the test uses."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)
        self._of: dict[str, str] = {}

    def get(self, thing: str) -> str | None:
        """Return the variable of a thing, if it has one."""
        return self._of.get(thing)

    def give(self, thing: str, wanted: str, otherwise: str) -> str:
        """Return the variable of a thing. A new one is called as `wanted`, as far as that can be a name."""
        if thing not in self._of:
            name = as_name(wanted) or otherwise
            name = name if name not in self._taken else f"{name}_2"
            number = 2
            while name in self._taken:
                number += 1
                name = f"{name.rpartition('_')[0]}_{number}"
            self._taken.add(name)
            self._of[thing] = name
        return self._of[thing]


def as_name(text: str) -> str:
    """Return a text as the name of a variable; empty if nothing of it can be one."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:30].rstrip("_")
    name = name if not name[:1].isdigit() else f"n{name}"
    return f"{name}_" if keyword.iskeyword(name) or keyword.issoftkeyword(name) else name


def literal(value: object) -> str:
    """Return a value as Python writes it: texts in double quotes, and what does not print escaped."""
    if isinstance(value, str) and value.isprintable():
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, re.Pattern):
        return f"re.compile({literal(value.pattern)})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(one) for one in value)}]"
    return repr(value)
