"""A homeserver with a seeded state, restored from its snapshot, beside plainly starting an empty one.

The homeserver has the blueprint `large`, with more and more rooms. The first time it is seeded, and its data are kept
in a cache. That is *seed*. Later it is restored: *restore* is `session.homeserver(..., blueprint=...)` to ready, with
all rooms there. *plain start* is one `Popen` of `synapse.app.homeserver` with an empty, finished database. After each
restore the bot's rooms are counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial

from greenroom.errors import HarnessError
from greenroom.homeserver import HomeserverSettings
from greenroom.people.accounts import log_in
from greenroom.people.matrix_api import MatrixApi, path
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint
from greenroom.session import Session
from greenroom.snapshots.cache import FOLDER
from tests.bench.plain_synapse import PlainSynapse
from tests.bench.report import Report
from tests.bench.seeded import BLUEPRINT
from tests.bench.side_by_side import counts, main, say, seconds_to_enter, take_turns


async def measure(report: Report, options: argparse.Namespace) -> None:
    """Seed once with each number of rooms, then let restores and plain starts take turns."""
    report.sizes = "rooms"
    sizes = counts(options.rooms)
    blueprints = {count: load_blueprint(BLUEPRINT, {"rooms": count}) for count in sizes}
    session = Session.begin(backend="process")
    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as cache, PlainSynapse.prepared() as plain:
            os.environ[FOLDER] = cache
            await seconds_to_enter(session.homeserver(HomeserverSettings()))  # makes what every first start makes
            for count, blueprint in blueprints.items():
                say(f"  {count} rooms, the first time")
                report.figure("seed", [await seconds_until_ready(session, blueprint)], size=count)
            say("  restores")
            ways = {str(count): partial(seconds_until_ready, session, one) for count, one in blueprints.items()}
            found = await take_turns({**ways, "plain start": plain.start}, options.rounds)
    finally:
        session.close()
    restored = [report.figure("restore", found[str(count)], size=count) for count in sizes]
    bare = report.figure("plain start", found["plain start"])
    for figure in restored:
        report.target(f"restore of {figure.size} rooms, beside a plain start", figure, bare, at_most=0.20)
    report.target("restore, most rooms beside fewest", restored[-1], restored[0], at_most=1.5)


async def seconds_until_ready(session: Session, blueprint: Blueprint) -> float:
    """Start a homeserver with a blueprint, count its rooms, and return the seconds until it was ready."""
    began = time.perf_counter()
    async with session.homeserver(HomeserverSettings(), blueprint=blueprint) as server:
        took = time.perf_counter() - began
        async with MatrixApi(server.url) as api:
            bot = await log_in(api, server.seeded.account("bot"))
            joined = await api.call("GET", path("joined_rooms"), token=bot.access_token)
    if len(joined["joined_rooms"]) != len(blueprint.rooms):
        raise HarnessError(f"{len(joined['joined_rooms'])} rooms are there, the blueprint has {len(blueprint.rooms)}")
    return took


if __name__ == "__main__":
    sys.exit(main("restore", __doc__, measure, rounds=5, rooms="10,100,500"))
