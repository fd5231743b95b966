"""Application services: registrations, what their scenarios are judged by, and the proxy in front of them."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from greenroom.errors import CapabilityMissing, Misuse, StartFailed
from greenroom.evidence.cause import find_causes
from greenroom.faults import Call, Deliveries, Entry, deliveries
from greenroom.faults.brought import is_transaction
from greenroom.faults.rest import GRACE_S, unrest
from greenroom.homeserver import HomeserverSettings
from greenroom.homeserver.appservice import Appservice
from greenroom.homeserver.conduit import CONDUIT
from greenroom.homeserver.container.create import create_options
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.container.running import Placement, RunningContainer
from greenroom.homeserver.settings import Secrets
from greenroom.homeserver.synapse import SYNAPSE, synapse_recipe
from greenroom.processes.runs import Run
from greenroom.scenarios import CATALOGUE, Observed, Verdict, scenarios_for
from greenroom.scenarios.load import load_promises, parse_promises
from greenroom.scenarios.observed import Why
from tests.harness.test_findings import BOT, CHAT, Scene, through

ECHO = Appservice("echo", "echo_bot", "http://127.0.0.1:1", users=("@echo_.*",), aliases=("#echo_.*",), rooms=("!a",))
SECRETS = Secrets("registration", "macaroon", "form", "ed25519 a_0000 key")
TRANSACTION = "/_matrix/app/v1/transactions/1"


# -- the registration


def test_a_registration_is_read_as_it_was_written():
    """What Greenroom renders is a registration with all of its fields; read again it says the same."""
    data = yaml.safe_load(ECHO.as_yaml())

    assert (data["id"], data["sender_localpart"], data["url"]) == ("echo", "echo_bot", "http://127.0.0.1:1")
    assert data["namespaces"]["users"] == [{"exclusive": True, "regex": "@echo_.*"}]
    assert data["namespaces"]["rooms"] == [{"exclusive": False, "regex": "!a"}]
    assert data["rate_limited"] is False
    assert data["as_token"] != data["hs_token"]
    assert Appservice.read(ECHO.as_yaml()).registration() == data


def test_tokens_are_new_and_do_not_show():
    """Two services never share a token, and no token appears where a service is printed."""
    other = Appservice("echo", "echo_bot")

    assert {ECHO.as_token, ECHO.hs_token}.isdisjoint({other.as_token, other.hs_token})
    assert ECHO.as_token not in repr(ECHO)
    assert ECHO.hs_token not in repr(ECHO)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "the registration is no YAML"),
        ("- a", "must be a mapping"),
        ("id: echo", "needs a text `as_token`"),
        ("{id: a, as_token: b, hs_token: c, sender_localpart: 5}", "needs a text `sender_localpart`"),
        ("{id: a, as_token: b, hs_token: c, sender_localpart: d, namespaces: {users: [{}]}}", "users needs a `regex`"),
        ("{id: a, as_token: b, hs_token: c, sender_localpart: d, namespaces: 3}", "`namespaces` of the registration"),
        ("{id: a, as_token: b, hs_token: c, sender_localpart: d, namespaces: {users: 3}}", "users must be a list"),
        (
            "{id: a, as_token: b, hs_token: c, sender_localpart: d, namespaces: {users: [{regex: '('}]}}",
            "'(' is no regular expression",
        ),
    ],
)
def test_a_mistake_in_a_registration_is_one_line(text, says):
    """The first mistake is named."""
    with pytest.raises(Misuse) as caught:
        Appservice.read(text)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_synapse_is_told_of_every_service():
    """The configuration names a file per service, and the files are there, in the container too."""
    settings = HomeserverSettings(appservices=(ECHO, Appservice("other", "other")))
    files = synapse_recipe("image", settings, SECRETS, Path("/nonexistent")).files
    config = yaml.safe_load(files["homeserver.yaml"])

    named = [Path(path).name for path in config["app_service_config_files"]]
    assert [yaml.safe_load(files[name])["id"] for name in named] == ["echo", "other"]


def test_a_container_with_services_listens_on_the_loopback_that_it_shares(tmp_path):
    """Services listen on loopback, so the container shares the network of the host, and listens on loopback itself."""
    place = Placement(Engine(None, "", ""), Run("run"), tmp_path, tmp_path)
    alone = synapse_recipe("image", HomeserverSettings(), SECRETS, tmp_path)
    shares = synapse_recipe("image", HomeserverSettings(appservices=(ECHO,)), SECRETS, tmp_path)
    (listener,) = yaml.safe_load(shares.files["homeserver.yaml"])["listeners"]

    assert "network_mode" not in create_options(alone, place)
    assert create_options(shares, place)["network_mode"] == "host"
    assert (listener["bind_addresses"], listener["port"]) == (["127.0.0.1"], shares.port)


async def test_an_engine_elsewhere_cannot_reach_a_service_here(tmp_path):
    """The start fails with a cure instead of a homeserver that delivers nothing."""
    recipe = synapse_recipe("image", HomeserverSettings(appservices=(ECHO,)), SECRETS, tmp_path)
    place = Placement(Engine(None, "tcp://far.example:2375", "far.example"), Run("run"), tmp_path, tmp_path)

    with pytest.raises(StartFailed, match="cannot reach an application service on this machine") as caught:
        await RunningContainer(SYNAPSE, recipe, place, HomeserverSettings(), SECRETS).launch()
    assert "--backend process" in str(caught.value)


def test_conduit_knows_no_services():
    """That is a declared lack with a reason, and no failure."""
    with pytest.raises(CapabilityMissing, match=r"application services .* in a room of its administrator"):
        CONDUIT.check_settings(HomeserverSettings(appservices=(ECHO,)))


# -- the promises


def parsed(**fields):
    return parse_promises({"command": "python", "kind": "appservice", **fields}, "x", Path("/"))


def test_each_kind_of_bot_has_its_scenarios():
    """A service has no sync to break, and no scenario of a service suits another bot."""
    own = {one.name for one in CATALOGUE.values() if one.act.__module__.endswith(".appservice")}
    client = {one.name for one in scenarios_for(parse_promises({"command": "python"}, "x", Path("/")))}
    service = {one.name for one in scenarios_for(parsed())}

    assert len(own) == 6
    assert client & own == set()
    assert service & own == own - {"ghost-after-restart"}
    assert "broken-sync" in client - service
    assert "ghost-after-restart" in {one.name for one in scenarios_for(parsed(appservice={"ghost": "bot_{word}"}))}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"appservice": {"users": ["("]}}, "is no regular expression"),
        ({"appservice": {"ghost": "bot_ghost"}}, "needs a {word}"),
        ({"appservice": {"id": ""}}, "appservice.id"),
        ({"appservice": {"registration": "not-there.yaml"}}, "not-there.yaml"),
        ({"appservice": {"sender": "bot"}}, "sender"),
        ({"kind": "client", "appservice": {"id": "a"}}, "is only for an application service"),
        ({"kind": "client", "env": {"T": "${AS_TOKEN}"}}, "only an application service has ${AS_TOKEN}"),
        ({"promises": {"broken-sync": "yes"}}, "broken-sync"),
        ({"kind": "client", "promises": {"foreign-token": "yes"}}, "foreign-token"),
    ],
)
def test_a_mistake_in_the_promises_of_a_service_is_one_line(fields, says):
    """It names the place and what is wrong."""
    with pytest.raises(Misuse) as caught:
        parsed(**fields)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_given_registration_is_filled_in(tmp_path):
    """The file's tokens and its server name are filled in, each time anew."""
    text = "{id: a, as_token: '${AS_TOKEN}', hs_token: '${HS_TOKEN}', sender_localpart: d, url: 'http://x', "
    text += "namespaces: {users: [{exclusive: true, regex: '@d_.*:${SERVER_NAME}'}]}, protocols: [irc]}"
    (tmp_path / "my.yaml").write_text(text)
    (tmp_path / "bot.yaml").write_text(
        "{command: python, kind: appservice, appservice: {registration: my.yaml}, promises: {answers: yes}}"
    )
    promised = load_promises(tmp_path / "bot.yaml").appservice
    one, other = promised.service("greenroom.test"), promised.service("greenroom.test")

    assert (one.id, one.sender_localpart) == ("a", "d")
    assert one.registration()["protocols"] == ["irc"]
    assert one.registration()["namespaces"]["users"][0]["regex"] == "@d_.*:greenroom.test"
    assert len({one.as_token, one.hs_token, other.as_token, other.hs_token}) == 4


# -- verdicts


class Service(Scene):
    """A record of an application service."""

    def __init__(self, scenario: str) -> None:
        promises = parsed(answer="{word}", appservice={"ghost": "bot_{word}"}, promises={scenario: "yes"})
        self.observed = Observed(scenario, promises, bot=BOT, disturbed=True)
        self.asks(Why.FIRST, "a").says("a")


def test_questions_of_a_downtime_are_answered_in_their_order():
    """Answers in the order of the questions pass; another order fails, and names the two."""
    right = through(Service("order-while-down").asks(Why.SUBJECT, "b").asks(Why.SUBJECT, "c").says("b", "c"))
    wrong = through(Service("order-while-down").asks(Why.SUBJECT, "b").asks(Why.SUBJECT, "c").says("c", "b"))

    assert right.verdict() == (Verdict.PASSED, "")
    assert wrong.verdict() == (Verdict.FAILED, "'c' was answered before 'b', which was asked first")


@pytest.mark.parametrize(
    ("facts", "verdict", "says"),
    [
        ((True, True, True), Verdict.PASSED, ""),
        ((False, False, False), Verdict.FAILED, "@bot_x:b did not join the room to which it was invited"),
        ((True, False, True), Verdict.INCONCLUSIVE, "answered nothing before the restart"),
        ((True, True, False), Verdict.FAILED, "after the restart @bot_x:b is no longer in its room"),
    ],
)
def test_a_ghost_is_judged_by_what_it_did_before_the_restart(facts, verdict, says):
    """A ghost that never answered could lose nothing."""
    joined, answered, stayed = facts
    one = Service("ghost-after-restart")
    one.notes(ghost="@bot_x:b", ghost_joined=joined, ghost_answered=answered, ghost_stayed=stayed)

    found, why = through(one).verdict()
    assert (found, says in why) == (verdict, True)


@pytest.mark.parametrize(
    ("status", "verdict", "says"),
    [
        (403, Verdict.PASSED, ""),
        (401, Verdict.PASSED, ""),
        (200, Verdict.FAILED, "the bot answered 200 to a transaction with no token, instead of 401 or 403"),
        (500, Verdict.PASSED, ""),
        (None, Verdict.INCONCLUSIVE, "a transaction with no token got no answer"),
    ],
)
def test_a_transaction_of_somebody_else_must_be_refused(status, verdict, says):
    """What is taken is a failure. What got no answer is not known."""
    one = through(Service("foreign-token").notes(foreign_requests={"no token": [status, "evil"]}))

    assert one.verdict() == (verdict, says)


def test_acting_on_a_transaction_of_somebody_else_is_a_failure_whatever_the_status():
    """A service that answers 403 and does what it was asked has refused nothing."""
    one = Service("foreign-token").notes(foreign_requests={"no token": [403, "evil"]}).says("evil")

    assert through(one).verdict() == (
        Verdict.FAILED,
        "the bot answered a question that came with no token; anybody could speak as the homeserver",
    )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, Verdict.PASSED), (404, Verdict.PASSED), (500, Verdict.FAILED), (None, Verdict.INCONCLUSIVE)],
)
def test_a_user_query_is_answered_with_yes_or_no(status, verdict):
    """Another status is a failure; no answer within ten seconds is not known."""
    one = through(Service("user-query").notes(user_query=["@bot_x:b", status]))

    assert one.verdict()[0] is verdict


# -- what its requests tell


def delivery(at: float, *brought: str, status: int | None = 200, **more) -> Entry:
    """Return a transaction that the homeserver sent."""
    return Entry(at, "PUT", TRANSACTION, "", None, status=status, duration_s=0.1, brought=brought, to=BOT, **more)


def sent(at: float, made: str) -> Entry:
    path = f"/_matrix/client/v3/rooms/{CHAT}/send/m.room.message/t1"
    return Entry(at, "PUT", path, "", BOT, status=200, duration_s=0.1, made=made)


def why(*requests: Entry) -> str:
    """Return the best cause for a question `$q` of second 100 that is unanswered at second 110."""
    return find_causes(requests, "", user_id=BOT, since=100.0, asked="$q", room=CHAT, now=110.0)[0].headline


def test_a_service_that_refuses_transactions_is_told_so():
    """The cause is its answer, and not that it has asked nothing."""
    assert why(delivery(101, status=403)).startswith("the bot has not taken the events: it answered 403 to the")
    assert "gave no answer to the transaction" in why(delivery(101, status=None))


def test_a_service_that_took_the_question_and_did_nothing():
    """It has no syncs to count."""
    said = why(sent(99, "$old"), delivery(101, "$q"))

    assert said.startswith("the bot received the question at ")
    assert said.endswith("and has sent no request since: did it take that for a question?")


def test_a_service_rests_when_its_own_message_has_come_back():
    """It asks for nothing, so only quiet shows that it is through."""
    assert unrest([sent(90, "$a"), delivery(91, "$a")], 100.0) is None
    assert unrest([sent(90, "$a")], 100.0) == "it has not received its own latest message"
    assert unrest([sent(90, "$a"), delivery(91, "$a")], 91.1 + GRACE_S / 2) == "it rests only for a moment"


# -- the proxy


class Sink:
    """A small service that takes everything. `paths`: of the transactions that came."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        return web.json_response({})

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.take)
        return TestServer(app, host="127.0.0.1")


async def deliver(proxy: Deliveries, *event_ids: str, path: str = TRANSACTION) -> int:
    """Send a transaction as a homeserver does. Return the status."""
    events = {"events": [{"event_id": event_id} for event_id in event_ids]}
    headers = {"Authorization": "Bearer hs-secret"}
    async with aiohttp.ClientSession(headers=headers) as session, session.put(proxy.url + path, json=events) as got:
        return got.status


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (TRANSACTION, True),
        ("/transactions/1", True),  # as services had it before version 1 of the specification
        ("/_matrix/app/v1/users/@transactions/1", False),
        ("/_matrix/client/v3/user/@bot:b/transactions/1", False),
    ],
)
def test_what_a_transaction_is(path, is_one):
    """Synapse tries the old path for a service that answers 404 to the new one."""
    assert is_transaction(path) is is_one


async def test_every_transaction_is_noted_with_its_events():
    """An entry says to whom it went, and what it brought once the service has answered 200."""
    sink = Sink()
    async with sink.server() as server, deliveries(BOT, str(server.make_url("")).rstrip("/")) as proxy:
        with proxy.error(500, times=1):
            refused = await deliver(proxy, "$a", "$b")
        taken = await deliver(proxy, "$a", "$b")
        await deliver(proxy, "$c", path="/_matrix/app/v1/transactions/2?access_token=hs-secret")
        first, second, third = proxy.transcript.entries()

    assert (refused, taken) == (500, 200)
    assert (first.to, first.brought, second.brought) == (BOT, (), ("$a", "$b"))
    assert not first.is_write
    assert third.query == "access_token=[redacted]"
    assert "hs-secret" not in proxy.transcript.text()
    assert f"homeserver to {BOT} PUT {TRANSACTION}" in proxy.transcript.text()


async def test_a_transaction_can_be_sent_twice_or_lose_its_answer():
    """In both cases the service sees the same transaction twice, under the same id."""
    sink = Sink()
    async with sink.server() as server, deliveries(BOT, str(server.make_url("")).rstrip("/")) as proxy:
        with proxy.repeat(where=_brings("$a"), times=1):
            assert await deliver(proxy, "$a") == 200
        with proxy.drop_response(where=_brings("$b"), times=1):
            # Without an answer aiohttp sends a PUT again by itself, as the homeserver does later.
            assert await deliver(proxy, "$b", path="/_matrix/app/v1/transactions/2") == 200
        lost, taken = proxy.transcript.entries()[1:]

    assert [path.rpartition("/")[2] for path in sink.paths] == ["1", "1", "2", "2"]
    assert (lost.status, lost.server_status, lost.brought, taken.brought) == (None, 200, (), ("$b",))


def _brings(event_id: str):
    def where(call: Call) -> bool:
        return event_id.encode() in call.body

    return where


async def test_an_id_that_the_homeserver_uses_again_is_replaced():
    """Synapse with SQLite counts from 1 again after a restart; a service would take new events for old ones."""
    sink = Sink()
    async with sink.server() as server, deliveries(BOT, str(server.make_url("")).rstrip("/")) as proxy:
        for event_id in ("$a", "$a", "$b", "$a", "$b"):
            await deliver(proxy, event_id)
        note = proxy.transcript.entries()[2].note

    assert [path.rpartition("/")[2] for path in sink.paths] == ["1", "1", "1.1", "1", "1.1"]
    assert note == "sent on as 1.1: the homeserver has used this id before"
