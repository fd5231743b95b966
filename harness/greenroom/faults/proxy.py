"""The proxy: an HTTP server on loopback, in front of another, with a thread and an event loop of its own.

The thread lets the proxy serve while the test's loop is busy; besides, a bot and a test may use different loops.
The proxy reads the URL of what is behind it for each request, so nobody notices a restart on another port.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from greenroom.errors import HarnessError, Misuse
from greenroom.faults import actions
from greenroom.faults.brought import brought_by, delivered_by, is_send, is_sync, is_transaction, made_by
from greenroom.faults.exchange import Action, Answer, Call, Cut, Exchange, Outcome
from greenroom.faults.manners import Manner, Manners, chosen_manners
from greenroom.faults.rules import HasUserId, Rule, Rules, checked_match
from greenroom.faults.transcript import CLIENT_LEFT, REDACTED, Entry, Transcript, kept_answer, redacted_text, shown_body
from greenroom.faults.users import Users, Whose
from greenroom.homeserver.interface import RunningHomeserver

START_TIMEOUT_S = 10.0
ROUNDS_OF_ACCEPTING = 2  # asyncio makes the transport in a task, then tells aiohttp in a callback
MAX_BODY_BYTES = 100 * 1024 * 1024


class Proxy(ABC):
    """A running proxy, in front of a homeserver (FaultProxy) or of an application service (Deliveries).

    Each method below puts one fault in force at once and returns its Rule. A `with` block ends the fault; without one,
    the fault lasts until it has hit `times` requests or the proxy closes. All methods choose requests in the same way:
    `method`, `path` (a part of it, or a compiled pattern), `user` (an id, a person or a bot), `where`, `times`, `skip`
    and `probability`. Only one fault hits a request: the oldest that matches.

    `containing` chooses by the homeserver's answer: the fault hits only an answer with that text in it, for example
    the sync that brings one message. Requests that are open already count too. `times`, `skip` and `probability` then
    count such answers. A fault without `containing` takes precedence.

    A request whose client has left hits no fault: what a killed bot has sent last is none of the next start's.
    """

    def __init__(self, *, seed: int = 0, transcript: Transcript | None = None) -> None:
        self.url = ""
        self.transcript = Transcript() if transcript is None else transcript
        self._rules = Rules()
        self._seeds = (seed + n for n in itertools.count())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="greenroom-faults", daemon=True)
        self._ready = threading.Event()
        self._closing: asyncio.Event | None = None
        self._failed: BaseException | None = None
        self._open: dict[asyncio.Task[Any], web.Request] = {}
        self._manners: tuple[Manner, ...] = ()

    # -- what is behind it

    @property
    @abstractmethod
    def behind(self) -> str:
        """The URL to which requests are forwarded."""

    @abstractmethod
    async def _identify(self, http: web.Request, query: str, body: bytes, entry: Entry) -> Whose:
        """Note in the entry whose request it is, and return it."""

    def _path_behind(self, http: web.Request, body: bytes, entry: Entry) -> str:
        """Return the path, still encoded, with which a request is forwarded."""
        return http.rel_url.raw_path

    def _learn(self, path: str, answer: bytes) -> None:  # noqa: B027 - most learn nothing
        """Look at the answer to a request that succeeded."""

    # -- faults

    def fault(
        self,
        name: str,
        action: Action,
        *,
        method: str | None = None,
        path: str | re.Pattern[str] | None = None,
        user: str | HasUserId | None = None,
        where: Callable[[Call], bool] | None = None,
        times: int | None = None,
        skip: int = 0,
        probability: float = 1.0,
        containing: str | None = None,
    ) -> Rule:
        """Put your own action in force. With `containing`, the proxy forwards the request before the action begins."""
        if times is not None and times < 1:
            raise Misuse(f"times must be at least 1, not {times}")
        if not 0 < probability <= 1:
            raise Misuse(f"probability must be above 0 and at most 1, not {probability}")
        match = checked_match(method, path, user, where)
        chance = random.Random(next(self._seeds))  # noqa: S311 - reproducible on purpose
        wanted = None if containing is None else containing.encode()
        note = self.transcript.note_fault
        rule = Rule(name, match, action, times, skip, wanted, chance, probability, _release=self._in_loop, _note=note)
        note(f"fault put in force: {rule}")
        return self._rules.add(rule)

    def rate_limited(self, retry_after_ms: int | None = 200, **choice: Any) -> Rule:
        """Answer 429 M_LIMIT_EXCEEDED. None leaves `retry_after_ms` out."""
        return self.fault("429", actions.rate_limited(retry_after_ms), **choice)

    def error(self, status: int = 500, errcode: str = "M_UNKNOWN", error: str = "Fault", **choice: Any) -> Rule:
        """Answer with a Matrix error of any status."""
        return self.fault(str(status), actions.answer_json(status, {"errcode": errcode, "error": error}), **choice)

    def html(self, status: int = 502, body: str = actions.HTML_502, **choice: Any) -> Rule:
        """Answer with an HTML page, as a failing reverse proxy does."""
        return self.fault(f"{status} with HTML", actions.answer_html(status, body), **choice)

    def unknown_token(self, *, soft_logout: bool = False, **choice: Any) -> Rule:
        """Answer 401 M_UNKNOWN_TOKEN, as for an expired or revoked token."""
        body = {"errcode": "M_UNKNOWN_TOKEN", "error": "Unknown access token", "soft_logout": soft_logout}
        return self.fault("401 unknown token", actions.answer_json(401, body), **choice)

    def drop_response(self, **choice: Any) -> Rule:
        """Forward the request, then end the connection without the answer."""
        return self.fault("response dropped", actions.drop_response, **choice)

    def repeat(self, **choice: Any) -> Rule:
        """Forward the request twice. The client receives the second answer."""
        return self.fault("sent twice", actions.repeat, **choice)

    def hold_response(self, **choice: Any) -> Rule:
        """Forward the request, and hold the answer until the fault ends."""
        return self.fault("response held", actions.hold_response, **choice)

    def stall(self, **choice: Any) -> Rule:
        """Hold requests until the fault ends, then forward them."""
        return self.fault("stalled", actions.stall, **choice)

    def delay(self, seconds: float, **choice: Any) -> Rule:
        """Forward requests after so many seconds."""
        return self.fault(f"delayed by {seconds:g} s", actions.delay(seconds), **choice)

    def cut(self, **choice: Any) -> Rule:
        """End the connection. The homeserver never receives the request."""
        return self.fault("connection cut", actions.cut, **choice)

    def truncate(self, keep: float = 0.5, *, well_framed: bool = False, **choice: Any) -> Rule:
        """Send the first part of the body, then end the connection or (`well_framed`) claim that this is all."""
        return self.fault("body truncated", actions.truncate(keep, well_framed=well_framed), **choice)

    def offline(self) -> Rule:
        """Cut every open connection and every new one until the fault ends."""
        rule = self.fault("offline", actions.cut)
        self.cut_open()
        return rule

    def cut_open(self) -> None:
        """End all connections that wait for an answer right now, for example a `/sync`."""
        self._in_loop(self._cut_open)

    def lift_all(self) -> None:
        """End every fault in force."""
        self._rules.end_all()

    # -- running

    def start(self) -> None:
        """Start to serve, on a port that the system chooses."""
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S) or self._failed:
            problem = self._failed or f"its thread reported nothing for {START_TIMEOUT_S:g} s"
            raise HarnessError(f"the fault proxy did not start: {problem}")

    def close(self) -> None:
        """End all connections, then lift all faults, then end the thread. Safe to call twice.

        This order cuts the requests that a fault still holds, so the homeserver does not receive them at the end.
        """
        if self._closing is not None and self._thread.is_alive():
            self._in_loop(self._closing.set)
            self._thread.join(START_TIMEOUT_S)
            if self._thread.is_alive():
                raise HarnessError(f"the fault proxy's thread did not end within {START_TIMEOUT_S:g} s")
        elif not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()
        self.lift_all()

    def _in_loop(self, work: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no request is held any more
            self._loop.call_soon_threadsafe(work)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        # One connection per request: a stale connection from a pool would look like a fault.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            self._session = session
            app = web.Application(client_max_size=MAX_BODY_BYTES)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(
                app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1.0
            )
            await runner.setup()
            try:
                listening = socket.create_server(("127.0.0.1", 0))
                await web.SockSite(runner, listening).start()
                self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                self._ready.set()
                await self._closing.wait()
                self._loop.remove_reader(listening.fileno())  # nothing is accepted from here on, and
                for _ in range(ROUNDS_OF_ACCEPTING):  # what has been accepted is known to aiohttp, which closes it
                    await asyncio.sleep(0)
                self._cut_open()
                self.lift_all()
            finally:
                await runner.cleanup()

    def _cut_open(self) -> None:
        for task, request in list(self._open.items()):
            if request.transport is not None:
                request.transport.abort()
            task.cancel()

    # -- one request

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        body = await http.read()
        query = http.rel_url.raw_query_string
        entry = Entry(time.time(), http.method, http.path, _redacted_query(http.query), None)
        whose = await self._identify(http, query, body, entry)
        call = Call(http.method, http.path, dict(http.query), whose.user, body, whose.token, whose.device)
        entry.sent = shown_body(body)
        target = self.behind + self._path_behind(http, body, entry) + (f"?{query}" if query else "")
        around = [manner.around for manner in self._manners]
        exchange = Exchange(call, target, CIMultiDict(http.headers), self._session, entry, around)
        rule = self._taken(http, exchange)
        self.transcript.begin(entry)
        task = asyncio.ensure_future(self._carry_out(http, exchange, rule))
        self._open[task] = http
        task.add_done_callback(lambda done: self._open.pop(done, None))
        began = self._loop.time()
        try:
            outcome = await self._outcome(task, exchange)
            if isinstance(outcome, Answer) and outcome.status == 200:
                self._learn(call.path, outcome.body)
            return await _send(http, outcome, entry)
        except asyncio.CancelledError:
            entry.status, entry.note = None, CLIENT_LEFT
            raise
        finally:
            entry.duration_s = self._loop.time() - began

    def _taken(self, http: web.Request, exchange: Exchange, answer: bytes | None = None) -> Rule | None:
        rule = None if _has_left(http) else self._rules.take(exchange.call, answer)
        if rule:
            exchange.hit_by(str(rule), rule.lifted)
        return rule

    async def _carry_out(self, http: web.Request, exchange: Exchange, rule: Rule | None) -> Outcome:
        if self._closing is None or self._closing.is_set():
            return Cut("the proxy is closing")
        if rule is None:
            answer = await exchange.forward()
            rule = self._taken(http, exchange, answer.body) if isinstance(answer, Answer) else None
        return await (rule.action(exchange) if rule else exchange.forward())

    async def _outcome(self, task: asyncio.Future[Outcome], exchange: Exchange) -> Outcome:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return Cut("cut while waiting for an answer")
            # The client closed the connection. A homeserver still carries out a write that it has received.
            if exchange.call.method == "GET" or not exchange.forwarded:
                task.cancel()
            raise


class FaultProxy(Proxy):
    """A running proxy in front of a homeserver. The bot uses its `url` as the homeserver."""

    def __init__(self, server: RunningHomeserver, *, seed: int = 0, transcript: Transcript | None = None) -> None:
        super().__init__(seed=seed, transcript=transcript)
        self.server = server
        self._users = Users(server.server_name)

    def manners(self, *names: str) -> Manners:
        """Let the homeserver behave like another one, as far as these rules or sets of rules go ("conduit").

        They replace those that were in force, and hold until the `with` block or the proxy ends. They are no faults:
        a fault hits what a homeserver with these manners answers. Raises Misuse for a name that does not exist.
        """
        before, self._manners = self._manners, chosen_manners(names)
        return Manners(self._manners, end=partial(setattr, self, "_manners", before))

    @property
    def behind(self) -> str:
        """The homeserver's URL."""
        return self.server.url

    async def _identify(self, http: web.Request, query: str, body: bytes, entry: Entry) -> Whose:
        whose = await self._users.of(http.path, http.headers, query, body, self.server.url, self._session)
        entry.user = whose.user
        return whose

    def _learn(self, path: str, answer: bytes) -> None:
        self._users.learn(path, answer)


def _has_left(http: web.Request) -> bool:
    """Return whether the client has closed its connection. The system knows that at once, asyncio only after a read."""
    if http.transport is None or http.transport.is_closing():
        return True
    connection = select.poll()
    connection.register(http.transport.get_extra_info("socket"), getattr(select, "POLLRDHUP", 0))  # and always POLLHUP
    return bool(connection.poll(0))


async def _send(http: web.Request, outcome: Outcome, entry: Entry) -> web.StreamResponse:
    if isinstance(outcome, Cut):
        entry.note = outcome.why
        if http.transport is not None:
            http.transport.abort()
        return web.Response()  # aiohttp wants one; the connection is closed
    entry.answered = kept_answer(outcome.status, outcome.body)
    if outcome.cut_after is None:
        return await _send_whole(http, outcome, entry)
    part = web.StreamResponse(status=outcome.status, headers=outcome.headers)
    part.content_length = len(outcome.body)
    await part.prepare(http)
    await part.write(outcome.body[: outcome.cut_after])
    entry.status = outcome.status
    entry.note = f"cut after {outcome.cut_after} of {len(outcome.body)} bytes"
    if http.transport is not None:
        http.transport.close()  # not abort: the bytes written so far must arrive
    return part


async def _send_whole(http: web.Request, answer: Answer, entry: Entry) -> web.StreamResponse:
    response = web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    entry.status = answer.status
    try:
        await response.prepare(http)
        await response.write_eof()
    except ConnectionError:
        entry.status, entry.note = None, CLIENT_LEFT
        return response
    if answer.status == 200 and is_sync(http.path):
        entry.brought = brought_by(answer.body)
    elif answer.status == 200 and is_send(http.method, http.path):
        entry.made = made_by(answer.body)
    elif answer.status == 200 and is_transaction(http.path):
        entry.brought = delivered_by(await http.read())
    return response


def _redacted_query(query: Mapping[str, str]) -> str:
    shown = {k: REDACTED if k == "access_token" else redacted_text(v) for k, v in query.items()}
    return "&".join(f"{k}={v}" for k, v in shown.items())


@asynccontextmanager
async def fault_proxy(
    server: RunningHomeserver, *, seed: int = 0, transcript: Transcript | None = None
) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of a homeserver for the duration of an `async with`."""
    proxy = FaultProxy(server, seed=seed, transcript=transcript)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.close()
