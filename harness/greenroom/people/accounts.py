"""Register accounts on a throwaway homeserver, without a person's help."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from greenroom.errors import CapabilityMissing, MatrixRefused, Misuse, Unavailable
from greenroom.homeserver.interface import Capability, Registration, RunningHomeserver
from greenroom.people.matrix_api import MatrixApi, path

SHARED_SECRET_REGISTER = "/_synapse/admin/v1/register"  # noqa: S105 - a path
TOKEN_STAGE = "m.login.registration_token"  # noqa: S105 - a name
DUMMY_STAGE = "m.login.dummy"
WALKABLE = {TOKEN_STAGE, DUMMY_STAGE}
LOCALPART = re.compile(r"^[a-z0-9._=/+-]+$")  # https://spec.matrix.org/latest/appendices/#user-identifiers


@dataclass(frozen=True)
class Account:
    """One account. Its password and token are good for a throwaway server only; still they stay out of `repr`."""

    user_id: str
    password: str = field(repr=False)
    access_token: str = field(default="", repr=False)
    device_id: str = ""

    @property
    def localpart(self) -> str:
        """The part between `@` and `:`."""
        return self.user_id[1:].partition(":")[0]


def derived_password(secret: str, localpart: str) -> str:
    """Return the password that a homeserver's registration secret gives an account: 20 letters and digits.

    It is the same in every run, and nobody who has not read the secret can compute it.
    """
    digest = hmac.new(secret.encode(), f"greenroom password {localpart}".encode(), hashlib.sha256).digest()
    return base64.b32encode(digest).decode().lower()[:20]


def unique_localpart(name: str, hint: str = "") -> str:
    """Return a localpart that no other test uses: `name`, a readable hint (a test's name) and a random part."""
    slug = re.sub(r"[^a-z0-9]+", "-", hint.lower()).strip("-")[:24].strip("-")
    return "-".join(part for part in (name, slug, secrets.token_hex(3)) if part)


async def log_in(api: MatrixApi, account: Account) -> Account:
    """Log an account in on a new device. Return the account with its token. Raises MatrixRefused.

    It is not always the same device: a second login there would end the token of the first one.
    """
    device = f"GREENROOM{secrets.token_hex(4).upper()}"
    return replace(account, access_token=await api.log_in(account.user_id, account.password, device), device_id=device)


async def register(
    server: RunningHomeserver,
    localpart: str,
    password: str | None = None,
    *,
    admin: bool = False,
    displayname: str | None = None,
    api: MatrixApi | None = None,
) -> Account:
    """Register an account, logged in on one device.

    Raises MatrixRefused with errcode M_USER_IN_USE if the name is taken, Unavailable if this homeserver has no way to
    make accounts (or none to make an `admin`).
    """
    password = password or secrets.token_urlsafe(12)
    if server.registration is None:
        raise CapabilityMissing(str(Capability.SHARED_SECRET_REGISTRATION), server.name)
    if admin:
        server.require(Capability.ADMIN_API)
    if api is None or server.registration.url:
        async with MatrixApi(server.registration.url or server.url) as own:
            return await _register(server.registration, own, localpart, password, admin, displayname)
    return await _register(server.registration, api, localpart, password, admin, displayname)


async def _register(
    made: Registration, api: MatrixApi, localpart: str, password: str, admin: bool, displayname: str | None
) -> Account:
    if made.way is Capability.SHARED_SECRET_REGISTRATION:
        body = {"username": localpart, "password": password, "admin": admin}
        if displayname is not None:
            body["displayname"] = displayname
        answer = await register_by_secret(api, made.secret, body)
        return Account(answer["user_id"], password, answer["access_token"], answer["device_id"])
    answer = await register_by_token(api, made.secret, localpart, password)
    account = Account(answer["user_id"], password, answer["access_token"], answer["device_id"])
    if displayname is not None:
        where = path("profile", account.user_id, "displayname")
        await api.call("PUT", where, token=account.access_token, json={"displayname": displayname})
    return account


async def check_room_version(server: RunningHomeserver, wanted: str) -> None:
    """Raise Misuse unless new rooms get the `wanted` version. Only an account can ask a homeserver for it."""
    account = await register(server, unique_localpart("greenroom"))
    async with MatrixApi(server.url) as api:
        default = await api.default_room_version(account.access_token)
    if default != wanted:
        raise Misuse(f"{server.name} makes rooms of version {default}, and cannot make them of version {wanted}")


async def register_if_new(server: RunningHomeserver, localpart: str, password: str) -> Account | None:
    """Register an account. Return None if its name is taken, as after an earlier start."""
    try:
        return await register(server, localpart, password)
    except MatrixRefused as error:
        if error.errcode == "M_USER_IN_USE":
            return None
        raise


async def register_by_secret(api: MatrixApi, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Register an account through Synapse's admin API; return user_id, access_token, device_id.

    `body` holds username, password, admin and perhaps displayname.
    https://element-hq.github.io/synapse/latest/admin_api/register_api.html
    """
    nonce = (await api.call("GET", SHARED_SECRET_REGISTER))["nonce"]
    signed = "\0".join((nonce, body["username"], body["password"], "admin" if body["admin"] else "notadmin"))
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha1).hexdigest()  # SHA-1 is what the API asks for
    return dict(await api.call("POST", SHARED_SECRET_REGISTER, json={**body, "nonce": nonce, "mac": mac}))


async def register_by_token(api: MatrixApi, token: str, localpart: str, password: str) -> dict[str, Any]:
    """Register an account in the stages that the server asks for; return user_id, access_token, device_id.

    https://spec.matrix.org/v1.11/client-server-api/#token-authenticated-registration

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
                raise  # the server refused our stage: the token is wrong, for instance
            done = set(refused.body.get("completed", []))
            session = str(refused.body.get("session", session))
            stage = next_stage(refused.body["flows"], done)
        auth = {"type": stage, "session": session}
        body["auth"] = {**auth, "token": token} if stage == TOKEN_STAGE else auth


def next_stage(flows: list[dict[str, Any]], done: set[str]) -> str:
    """Return the next stage of the shortest flow that needs no person. Raises Unavailable if every flow needs one."""
    walkable = [flow["stages"] for flow in flows if WALKABLE.issuperset(flow["stages"])]
    for stages in sorted(walkable, key=len):
        for stage in stages:
            if stage not in done:
                return str(stage)
    wanted = " or ".join(", ".join(flow["stages"]) for flow in flows)
    raise Unavailable("registration by token", f"the homeserver wants {wanted}", "a homeserver that offers a token")
