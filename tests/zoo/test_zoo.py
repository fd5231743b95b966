"""Published bots, unmodified, on several frameworks: every verdict agrees with what was seen of that bot.

Run it with `pytest --zoo all`, or with names, such as `--zoo maubot,opsdroid`. Each bot is installed once, into its own
environment. Its `bot.yaml` says what it promises. `no` there says that the bot does not do it; the comment says what it
does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.scenarios import BotPromises, Result, Verdict, load_promises, run_all, table
from greenroom.scenarios.promises import NOT_PROMISED
from tests.zoo.environments import HERE, Environment, NoInstaller, NotInstalled, environment_of, home, names


@pytest.fixture
def installed(name) -> Environment:
    """The environment of the bot that the test is about, made if it is missing."""
    environment = environment_of(name, home())
    try:
        environment.make()
    except NoInstaller as error:
        pytest.skip(str(error))
    except NotInstalled as error:
        pytest.fail(str(error), pytrace=False)
    return environment


def promises_of(environment: Environment) -> BotPromises:
    """Return a bot's promises, with its command from its own environment, as if that were activated."""
    promises = load_promises(HERE / environment.name / "bot.yaml")
    word, space, rest = str(promises.command).partition(" ")
    return promises.model_copy(update={"command": f"{environment.program(word)}{space}{rest}"})


def expected(promises: BotPromises) -> dict[str, Verdict]:
    """Return the verdict of each scenario. What the file denies is tried as if the file said nothing of it.

    A bot that keeps no database cannot lose it, so there is no verdict on `state-lost`.
    """
    denied = {name for name, way in promises.promises.items() if way == NOT_PROMISED}
    untrue = {name: Verdict.INCONCLUSIVE if name == "state-lost" else Verdict.DOES_NOT for name in denied}
    return {name: untrue.get(name, Verdict.PASSED) for name in promises.promises}


def without_denials(promises: BotPromises) -> BotPromises:
    """Return the promises without those that are `no`, so that every scenario is run."""
    kept = {name: way for name, way in promises.promises.items() if way != NOT_PROMISED}
    return promises.model_copy(update={"promises": kept})


def differences(results: list[Result], wanted: dict[str, Verdict]) -> str:
    """Return one line for each verdict that is another than wanted, with the judge's reason and the bundle."""
    wrong = [result for result in results if result.verdict is not wanted[result.scenario]]
    return "\n".join(
        f"{r.scenario}: {r.verdict}, not {wanted[r.scenario]}: {r.reason}\n  bundle: {r.bundle}" for r in wrong
    )


def bundles(config: pytest.Config, tmp_path: Path) -> Path:
    """Return where bundles stay after the run: the folder of failed tests, if one is named."""
    named = config.getoption("--greenroom-failures", None)
    return Path(named) if named else tmp_path


@pytest.mark.e2e
@pytest.mark.zoo
@pytest.mark.timeout(1500)  # an installation and the whole catalogue
@pytest.mark.parametrize("name", names())
async def test_each_verdict_is_what_was_seen_of_the_bot(name, installed, greenroom, homeserver, pytestconfig, tmp_path):
    """The bot keeps what its file promises, and does not do what the file denies."""
    promises = promises_of(installed)

    results = await run_all(greenroom, homeserver, without_denials(promises), bundles=bundles(pytestconfig, tmp_path))

    print("\n".join(table(results)))
    assert differences(results, expected(promises)) == ""


def test_a_verdict_that_is_not_the_expected_one_is_told():
    """The comparison fails for a broken promise, and for a denial that is untrue or that has no verdict."""
    promises = BotPromises(
        command="x", promises={"kicked": "yes", "dead-token": False, "broken-sync": False, "state-lost": False}
    )
    seen = {
        "kicked": Verdict.FAILED,
        "dead-token": Verdict.DOES,
        "broken-sync": Verdict.INCONCLUSIVE,
        "state-lost": Verdict.INCONCLUSIVE,
    }

    told = differences([Result(name, "", verdict) for name, verdict in seen.items()], expected(promises))

    lines = [line for line in told.splitlines() if "bundle" not in line]
    assert [line.partition(": ")[0] for line in lines] == ["kicked", "dead-token", "broken-sync"]
    assert "dead-token: does, not does not" in told
    assert set(without_denials(promises).promises) == {"kicked"}
