"""The test of the scenarios: each bad bot fails the scenario meant for it, and the good bots pass all scenarios.

`python -m tests.gallery.matrix` prints the whole table, every bot in every scenario.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenroom.faults import with_manners
from greenroom.homeserver.interface import Backend
from greenroom.scenarios import (
    CATALOGUE,
    BotPromises,
    Verdict,
    judge_bundles,
    load_promises,
    play,
    run,
    run_all,
    scenarios_for,
    table,
)

HERE = Path(__file__).parent
GOOD = {file.parent: load_promises(file) for file in sorted(HERE.rglob("good.yaml"))}  # by their folders, one per kind
REFERENCE = load_promises(HERE / "reference.yaml")

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class BadBot:
    """A bot with one fault, the scenario that must find it, and a part of that scenario's error.

    `saved_by`: the manner of homeservers on which the fault does no harm; "" if there is none.
    """

    name: str
    fault: str
    caught_by: str
    says: str
    saved_by: str = ""
    folder: Path = HERE

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """What skips the bot's test where its fault does no harm."""
        return [pytest.mark.not_behind(self.saved_by, because="its fault does no harm there")] if self.saved_by else []

    @property
    def promises(self) -> BotPromises:
        """What the good bot of the same folder promises, and the promise that this bot breaks."""
        changes = {"name": self.name, "command": f"python {self.name}.py", "promises": {self.caught_by: "yes"}}
        # Most fail because an answer never comes.
        return GOOD[self.folder].model_copy(update={**changes, "patience_s": 8.0})


def bad_bots() -> list[BadBot]:
    """Return the bad bots of this folder and those below, from their source, without running them."""
    found = []
    for file in sorted(HERE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        names = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        if "CAUGHT_BY" in names:
            told = (names["CAUGHT_BY"], names["SAYS"], names.get("SAVED_BY", ""))
            found.append(BadBot(file.stem, ast.get_docstring(tree) or "", *told, file.parent))
    return found


def test_every_scenario_has_a_bot_that_it_catches():
    """Every scenario has a bot that fails it: a scenario that nobody fails proves nothing."""
    assert {bot.caught_by for bot in bad_bots()} == set(CATALOGUE)


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name, marks=bad.marks) for bad in bad_bots()])
async def test_a_bad_bot_is_caught_by_the_scenario_meant_for_it(bad, greenroom, homeserver, tmp_path):
    """A bad bot fails the scenario meant for it, with an error that names its fault, and leaves a bundle."""
    result = await run(greenroom, homeserver, bad.promises, CATALOGUE[bad.caught_by], bundles=tmp_path)

    assert result.verdict is Verdict.FAILED, result.reason
    assert bad.says in result.reason
    assert (result.bundle / "timeline.txt").stat().st_size > 0
    (again,) = judge_bundles(tmp_path)
    assert (again.verdict, again.reason) == (result.verdict, result.reason)


async def test_what_a_service_missed_arrives_when_it_has_started(greenroom, homeserver, tmp_path):
    """Many services listen before they can handle anything, and the next try may find them so."""
    slow = next(bot for bot in bad_bots() if bot.name == "starts_slowly").promises
    promises = slow.model_copy(update={"promises": {"message-while-down": "once"}, "patience_s": 20.0})

    result = await run(greenroom, homeserver, promises, CATALOGUE["message-while-down"], bundles=tmp_path)

    assert result.verdict is Verdict.PASSED, result.reason


async def test_a_homeserver_of_a_scenarios_own_has_the_manners_of_the_given_one(greenroom, homeserver):
    """A scenario that stops its homeserver starts one for that. The bot meets the same manners there."""
    async with with_manners(homeserver, ["told-twice", "news-at-the-end"]) as mannered:
        with greenroom.part("manners") as part:
            await play(part, mannered, GOOD[HERE], CATALOGUE["server-restart"])

    assert part.record.configurations["homeserver-settings.yaml"]["manners"] == ("told-twice", "news-at-the-end")


@pytest.mark.timeout(900)  # the whole catalogue
@pytest.mark.parametrize("promises", [*GOOD.values(), REFERENCE], ids=lambda promises: promises.name)
async def test_a_good_bot_keeps_all_its_promises(promises, greenroom, homeserver, tmp_path):
    """A good bot passes every scenario that it promises; in containers, which are slower, those of its kind."""
    own = [one.name for one in scenarios_for(promises) if not one.act.__module__.endswith(".basic")]
    only = own if promises.encrypted or promises.is_appservice or promises.trigger else ()
    only = only if greenroom.choice.backend is Backend.CONTAINER else ()
    results = await run_all(greenroom, homeserver, promises, only=only, bundles=tmp_path, keep=True)

    print("\n".join(table(results)))
    wrong = [r for r in results if r.verdict not in (Verdict.PASSED, Verdict.NOT_PROMISED)]
    assert wrong == [], "\n".join(f"{r.scenario}: {r.verdict}: {r.reason}" for r in wrong)
    again = [(r.scenario, r.verdict, r.way, r.reason) for r in judge_bundles(tmp_path)]
    assert again == [(r.scenario, r.verdict, r.way, r.reason) for r in results if r.bundle]
