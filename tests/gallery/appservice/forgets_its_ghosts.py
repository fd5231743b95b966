"""It keeps its ghosts in memory only: after a restart it answers nobody in their rooms."""

from __future__ import annotations

from good_service import ME, Service, main

CAUGHT_BY = "ghost-after-restart"
SAYS = "was never answered"


class ForgetsItsGhosts(Service):
    def __init__(self) -> None:
        super().__init__()
        self.state["ghosts"] = []
        self.state["rooms"] = {room: user for room, user in self.state["rooms"].items() if user == ME}


if __name__ == "__main__":
    main(ForgetsItsGhosts)
