"""Which bots of the zoo run: none, unless somebody asks for them, because their packages come from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping

from greenroom.errors import Misuse
from tests.zoo.environments import names

ALL = "all"
VARIABLE = "GREENROOM_ZOO_BOTS"
NOT_ASKED_FOR = f"not asked for; --zoo all, or {VARIABLE}=all, installs it from PyPI or crates.io and runs it"


def chosen(option: str | None, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the bots that --zoo names, or else the variable. Raises Misuse for a bot that there is not."""
    text = environ.get(VARIABLE, "") if option is None else option
    asked = [name for part in text.split(",") if (name := part.strip())]
    known = names()
    if asked == [ALL]:
        return known
    for name in asked:
        if name not in known:
            raise Misuse(f"the zoo has no bot {name!r}; it has {', '.join(known)}, or all of them: {ALL}")
    return [name for name in known if name in asked]
