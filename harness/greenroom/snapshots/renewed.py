"""New passwords for the people of a blueprint, on a homeserver whose data came with the secrets of another one."""

from __future__ import annotations

import asyncio
from typing import Any

from greenroom.errors import MatrixRefused
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import Account, derived_password
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.logins import accounts_of
from greenroom.seed.survey import SEED_DEVICE

AT_ONCE = 8  # checking a password is work for the homeserver's one core


async def change_passwords(server: RunningHomeserver, blueprint: Blueprint, old_secret: str) -> None:
    """Give everybody the password that follows from the server's own secret, and end all sessions.

    `old_secret` is the registration secret from which the passwords follow now. A password that the blueprint fixes
    stays. Raises MatrixRefused if a password is another one.
    """
    gate = asyncio.Semaphore(AT_ONCE)
    async with MatrixApi(server.url) as api:

        async def change(account: Account, fixed: str | None) -> None:
            old = Account(account.user_id, fixed or derived_password(old_secret, account.localpart))
            async with gate:
                token = await api.log_in(old.user_id, old.password, SEED_DEVICE)
                if not fixed:
                    await _change_password(api, token, old, account.password)
                await api.call("POST", path("logout", "all"), token=token, json={})

        accounts = accounts_of(blueprint, server)
        fixed = [person.password for person in blueprint.people]
        await asyncio.gather(*map(change, accounts, fixed))


async def _change_password(api: MatrixApi, token: str, account: Account, new: str) -> None:
    """Change a password, which the homeserver may ask for once more.

    https://spec.matrix.org/v1.11/client-server-api/#post_matrixclientv3accountpassword
    """
    where = path("account", "password")
    body: dict[str, Any] = {"new_password": new, "logout_devices": True}
    try:
        await api.call("POST", where, token=token, json=body)
    except MatrixRefused as refused:
        if refused.status != 401 or not isinstance(refused.body, dict) or "flows" not in refused.body:
            raise
        who = {"type": "m.id.user", "user": account.user_id}
        auth = {"type": "m.login.password", "identifier": who, "password": account.password}
        body["auth"] = {**auth, "session": refused.body.get("session")}
        await api.call("POST", where, token=token, json=body)
