"""Registration with a token, for homeservers without Synapse's admin API.

https://spec.matrix.org/v1.11/client-server-api/#token-authenticated-registration
"""

from __future__ import annotations

from typing import Any

from harness.errors import MatrixRefused, Unavailable
from harness.matrix_api import MatrixApi, path

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
