"""Which dev environment the steps were done in, as `dev.json` and `dev.env` tell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from greenroom.errors import HarnessError
from greenroom.seed.load import load_blueprint
from greenroom.seed.repeat import settings_of
from greenroom.stage.script import Scene

MADE_ANEW = frozenset(  # for each bot that a test starts
    {
        "MATRIX_HOMESERVER", "MATRIX_USER_ID", "MATRIX_PASSWORD", "MATRIX_ACCESS_TOKEN", "MATRIX_DB_PATH",
        "MATRIX_STORE_PATH", "MATRIX_LOG_MESSAGES",
    }
)  # fmt: skip
SECRET = re.compile("PASSWORD|TOKEN|SECRET|KEY")


def scene_of(state: Mapping[str, Any], environment: Mapping[str, str], *, our_command: str) -> Scene:
    """Return the scene of a dev environment. `our_command` is how `dev.json` names the reference bot.

    Settings of the bot whose names sound like a secret are left out: a test is kept in a repository.
    """
    name, *words = shlex.split(str(state.get("seed") or "qa"))
    given = [value for option, value in zip(words[::2], words[1::2], strict=False) if option == "--set"]
    bot = str(state["bot"]["user_id"])
    command = str(state["bot"]["command"])
    own = {key: value for key, value in environment.items() if key not in MADE_ANEW and not SECRET.search(key)}
    try:
        variables = settings_of(given)
        accounts = tuple(person.name for person in load_blueprint(name, variables).people)
    except HarnessError:  # the file is gone or was changed meanwhile; the test will say so
        variables, accounts = {}, tuple(person["user_id"][1:].partition(":")[0] for person in state["people"])
    return Scene(
        blueprint=name,
        variables=variables,
        accounts=accounts,
        bot=bot[1:].partition(":")[0],
        command="" if command == our_command else command,
        environment=own,
        server_name=str(state["homeserver"]["server_name"]),
        made_by="greenroom dev --stage" + (f" --bot {shlex.quote(command)}" if command != our_command else ""),
    )
