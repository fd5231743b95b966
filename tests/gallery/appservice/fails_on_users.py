"""It looks a user up among those it has made. For anybody else its handler fails, and the answer is 500."""

from __future__ import annotations

from aiohttp import web
from good_service import Service, main

CAUGHT_BY = "user-query"
SAYS = "answered 500 to the homeserver's question"


class FailsOnUsers(Service):
    async def user(self, request: web.Request) -> web.Response:
        if refusal := self.refusal(request):
            return refusal
        number = self.state["ghosts"].index(request.match_info["user_id"])
        return web.json_response({"number": number})


if __name__ == "__main__":
    main(FailsOnUsers)
