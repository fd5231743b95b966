"""A homeserver that knows an application service from its start, with a proxy between the two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from greenroom.faults import Deliveries, deliveries
from greenroom.homeserver.appservice import Appservice
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.homeserver.settings import LOOPBACK, HomeserverSettings, free_port
from greenroom.people.accounts import Account
from greenroom.processes.ports import refusal

FILE = "registration.yaml"
PING = "/_matrix/app/v1/ping"
ANSWERED = (200, 401, 403, 404, 405, 501)  # by a service that listens; the errors by one that knows no ping
ANSWER_TIMEOUT_S = 10.0
StartServer = Callable[[HomeserverSettings], AbstractAsyncContextManager[RunningHomeserver]]


@dataclass(frozen=True)
class Hosted:
    """An application service that its homeserver knows. It listens on `port`, behind the proxy `deliveries`."""

    service: Appservice  # with the proxy's URL, as the homeserver knows it
    server: RunningHomeserver
    deliveries: Deliveries
    port: int

    @property
    def account(self) -> Account:
        """The service's own account. It has no password."""
        return Account(self.deliveries.user_id, "", self.service.as_token)

    def own_registration(self) -> str:
        """Return the registration for the service itself: the URL is where it has to listen."""
        return self.service.at(self.deliveries.service_url).as_yaml()

    def variables(self, folder: Path) -> Mapping[str, str]:
        """Return the values of the variables that only an application service has, and its port."""
        return {
            "AS_TOKEN": self.service.as_token,
            "HS_TOKEN": self.service.hs_token,
            "APPSERVICE_ID": self.service.id,
            "REGISTRATION": str(folder / FILE),
            "PORT": str(self.port),
        }

    async def request(self, method: str, path: str, token: str | None, json: object = None) -> int | None:
        """Ask the service something as its homeserver would, through the proxy. Return the status; None: no answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, self.deliveries.url + path, json=json) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def listens(self, bot: object) -> str | None:
        """Return None if the service answers a ping, otherwise what is missing in a few words.

        https://spec.matrix.org/latest/application-service-api/#pinging, but not sent by the homeserver: Synapse takes
        a ping for the sign to deliver at once what it has kept, before the service is through with its start. A
        service that knows no ping answers with an error, which shows as well that it listens.
        """
        if await refusal(LOOPBACK, self.port):  # a ping to nobody would be one more line in the transcript
            return f"it does not listen on port {self.port} yet"
        status = await self.request("POST", PING, self.service.hs_token, {})
        return None if status in ANSWERED else f"a ping was answered with {status or 'nothing'}"


@asynccontextmanager
async def hosted(start: StartServer, service: Appservice, settings: HomeserverSettings) -> AsyncIterator[Hosted]:
    """Run a homeserver that knows `service`, for the length of an `async with`. `start` runs one with given settings.

    Raises CapabilityMissing on a homeserver that knows no application services.
    """
    port = free_port()
    user_id = f"@{service.sender_localpart}:{settings.server_name}"
    async with deliveries(user_id, f"http://{LOOPBACK}:{port}") as proxy:
        known = service.at(proxy.url)
        async with start(replace(settings, appservices=(*settings.appservices, known))) as server:
            yield Hosted(known, server, proxy, port)
