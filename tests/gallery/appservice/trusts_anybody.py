"""It does not look at the token of a request, so anybody can speak as the homeserver."""

from __future__ import annotations

from aiohttp import web
from good_service import Service, main

CAUGHT_BY = "foreign-token"
SAYS = "anybody could speak as the homeserver"


class TrustsAnybody(Service):
    def refusal(self, request: web.Request) -> web.Response | None:
        return None


if __name__ == "__main__":
    main(TrustsAnybody)
