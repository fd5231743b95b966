"""Make the values of the variables that a bot mentions."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from greenroom.configuration.variables import OTHER_PORT
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import free_port
from greenroom.people.accounts import Account, log_in, register
from greenroom.people.matrix_api import MatrixApi


@dataclass
class Made:
    """Values of variables, and the accounts that were made or logged in for them."""

    values: dict[str, str] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)


async def make_variables(
    wanted: Set[str], server: RunningHomeserver, account: Account, folder: Path, *, admin: str
) -> Made:
    """Make the `wanted` variables of a bot, and those that cost nothing. `admin` is the localpart of an administrator.

    The bot's own login goes directly to the homeserver, not through a proxy: it is no request of the bot. Raises
    CapabilityMissing for an administrator on a homeserver that makes none.
    """
    made = Made({"BOT_LOCALPART": account.localpart, "SERVER_NAME": server.server_name, "FOLDER": str(folder)})
    if wanted & {"MATRIX_ACCESS_TOKEN", "MATRIX_DEVICE_ID"}:
        # An application service has a token, and neither password nor device.
        has_one = account.access_token and (account.device_id or not account.password)
        logged_in = account
        if not has_one:
            async with MatrixApi(server.url) as api:
                logged_in = await log_in(api, account)
        made.accounts.append(logged_in)
        made.values |= {"MATRIX_ACCESS_TOKEN": logged_in.access_token, "MATRIX_DEVICE_ID": logged_in.device_id}
    if wanted & {"ADMIN_TOKEN", "ADMIN_USER_ID"}:
        administrator = await register(server, admin, admin=True)
        made.accounts.append(administrator)
        made.values |= {"ADMIN_TOKEN": administrator.access_token, "ADMIN_USER_ID": administrator.user_id}
    made.values |= _ports(name for name in wanted if name == "PORT" or OTHER_PORT.fullmatch(name))
    return made


def _ports(names: Iterable[str]) -> dict[str, str]:
    ports: dict[str, str] = {}
    for name in names:
        port = str(free_port())
        while port in ports.values():
            port = str(free_port())
        ports[name] = port
    return ports
