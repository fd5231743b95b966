"""Accounts on a throwaway homeserver: registered without any user interaction, with readable names and passwords."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from greenroom.errors import MatrixRefused, Unavailable
from greenroom.homeserver.interface import Capability, RunningHomeserver
from greenroom.people.matrix_api import MatrixApi, path

TOKEN_STAGE = "m.login.registration_token"  # noqa: S105 - a name
DUMMY_STAGE = "m.login.dummy"
OURS = {TOKEN_STAGE, DUMMY_STAGE}


async def register_by_token(api: MatrixApi, token: str, localpart: str, password: str) -> dict[str, Any]:
    """Register an account; give the server's answer: user_id, access_token, device_id.

    Raises Unavailable if the server wants a stage that needs a person (a captcha, an e-mail).
    """
    body: dict[str, Any] = {"username": localpart, "password": password}
    done: set[str] = set()
    session = ""
    while True:
        try:
            return dict(await api.call("POST", path("register"), json=body))
        except MatrixRefused as refused:
            if refused.status != 401 or not isinstance(refused.body, dict) or "flows" not in refused.body:
                raise
            if refused.errcode and not set(refused.body.get("completed", [])) - done:
                raise  # the stage we tried was refused: a wrong token, for one
            done = set(refused.body.get("completed", []))
            session = str(refused.body.get("session", session))
            stage = next_stage(refused.body["flows"], done)
        auth = {"type": stage, "session": session}
        body["auth"] = {**auth, "token": token} if stage == TOKEN_STAGE else auth


def next_stage(flows: list[dict[str, Any]], done: set[str]) -> str:
    """Choose the next stage of the shortest flow that we can walk without a person. Raises Unavailable if none is."""
    walkable = [flow["stages"] for flow in flows if OURS.issuperset(flow["stages"])]
    for stages in sorted(walkable, key=len):
        for stage in stages:
            if stage not in done:
                return str(stage)
    wanted = " or ".join(", ".join(flow["stages"]) for flow in flows)
    raise Unavailable("registration by token", f"the homeserver wants {wanted}", "a homeserver that offers a token")


SHARED_SECRET_REGISTER = "/_synapse/admin/v1/register"  # noqa: S105 - a path
LOCALPART = re.compile(r"^[a-z0-9._=/+-]+$")  # https://spec.matrix.org/latest/appendices/#user-identifiers


@dataclass(frozen=True)
class Account:
    """One account. The password and token open nothing but a throwaway server; still they stay out of `repr`."""

    user_id: str
    password: str = field(repr=False)
    access_token: str = field(default="", repr=False)
    device_id: str = ""

    @property
    def localpart(self) -> str:
        """The part between `@` and `:`."""
        return self.user_id[1:].partition(":")[0]


def seeded_password(blueprint: str, localpart: str) -> str:
    """Give the password of a seeded person: readable, the same in every run, derived from both names."""
    return f"{localpart}-{blueprint}-pass"


def unique_localpart(name: str, hint: str = "") -> str:
    """Make a localpart that no other test uses: `name`, a readable hint (a test's name) and a random part."""
    slug = re.sub(r"[^a-z0-9]+", "-", hint.lower()).strip("-")[:24].strip("-")
    return "-".join(part for part in (name, slug, secrets.token_hex(3)) if part)


async def register(
    server: RunningHomeserver,
    localpart: str,
    password: str | None = None,
    *,
    admin: bool = False,
    displayname: str | None = None,
    api: MatrixApi | None = None,
) -> Account:
    """Register an account; it comes logged in on one device.

    Raises MatrixRefused with errcode M_USER_IN_USE if the name is taken, Unavailable if this homeserver offers no way.
    """
    password = password or secrets.token_urlsafe(12)
    if api is None:
        async with MatrixApi(server.url) as own:
            return await register(server, localpart, password, admin=admin, displayname=displayname, api=own)
    if server.can(Capability.REGISTRATION_TOKEN) and server.registration_token is not None:
        return await _by_token(server, api, localpart, password, admin, displayname)
    server.require(Capability.SHARED_SECRET_REGISTRATION)
    secret = server.registration_shared_secret
    assert secret is not None
    return await _by_shared_secret(api, secret, localpart, password, admin, displayname)


async def _by_token(
    server: RunningHomeserver, api: MatrixApi, localpart: str, password: str, admin: bool, displayname: str | None
) -> Account:
    if admin:
        server.require(Capability.ADMIN_API)
    assert server.registration_token is not None
    answer = await register_by_token(api, server.registration_token, localpart, password)
    account = Account(answer["user_id"], password, answer["access_token"], answer["device_id"])
    if displayname is not None:
        where = path("profile", account.user_id, "displayname")
        await api.call("PUT", where, token=account.access_token, json={"displayname": displayname})
    return account


async def _by_shared_secret(
    api: MatrixApi, secret: str, localpart: str, password: str, admin: bool, displayname: str | None
) -> Account:
    # https://element-hq.github.io/synapse/latest/admin_api/register_api.html
    nonce = (await api.call("GET", SHARED_SECRET_REGISTER))["nonce"]
    signed = "\0".join((nonce, localpart, password, "admin" if admin else "notadmin"))
    body = {
        "nonce": nonce,
        "username": localpart,
        "password": password,
        "admin": admin,
        "mac": hmac.new(secret.encode(), signed.encode(), hashlib.sha1).hexdigest(),  # SHA-1 is what the API asks for
    }
    if displayname is not None:
        body["displayname"] = displayname
    answer = await api.call("POST", SHARED_SECRET_REGISTER, json=body)
    return Account(answer["user_id"], password, answer["access_token"], answer["device_id"])
