"""Print the whole table: every bot of the gallery in every scenario. This takes several minutes.

python -m tests.gallery.matrix
"""

from __future__ import annotations

import asyncio

from greenroom.homeserver import HomeserverSettings
from greenroom.scenarios import CATALOGUE, NOT_PROMISED, BotPromises, Verdict, run_all
from greenroom.session import Session
from tests.gallery.test_gallery import GOOD, REFERENCE, bad_bots

SIGNS = {Verdict.PASSED: "·", Verdict.FAILED: "X", Verdict.INCONCLUSIVE: "?", Verdict.NOT_PROMISED: " "}
SIGNS |= {Verdict.DOES: "·", Verdict.DOES_NOT: "x"}


async def matrix() -> int:
    """Judge all bots. Return the number of bots with a wrong verdict."""
    caught_by = {bot.name: bot.caught_by for bot in bad_bots()}
    bots: list[BotPromises] = [*GOOD.values(), REFERENCE, *(bot.promises for bot in bad_bots())]
    wrong = 0
    for number, name in enumerate(CATALOGUE):
        print("    " + "|   " * number + name)
    session = Session.begin()
    try:
        async with session.homeserver(HomeserverSettings()) as server:
            for bot in bots:
                results = await run_all(session, server, bot)
                meant = caught_by.get(bot.name, "")
                failed = {r.scenario for r in results if r.verdict is Verdict.FAILED}
                as_meant = meant in failed if meant else not failed
                wrong += not as_meant
                marks = {r.scenario: SIGNS[r.verdict] for r in results}
                signs = (f"[{marks[s]}]" if s == meant else f" {marks.get(s, ' ')} " for s in CATALOGUE)
                print("   " + " ".join(signs), bot.name, "" if as_meant else "  NOT AS MEANT", flush=True)
    finally:
        session.close()
    print(f"· passed or does, X failed, x does not, ? inconclusive, blank {NOT_PROMISED}; [ ] the bot's scenario")
    return wrong


if __name__ == "__main__":
    raise SystemExit(asyncio.run(matrix()))
