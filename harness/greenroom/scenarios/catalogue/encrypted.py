"""Scenarios for bots in encrypted chats: their keys, their devices, and the devices of the people there.

That such a bot answers at all, and never in plain text, every scenario judges (`findings.stays_encrypted`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from string import Template

from greenroom import must
from greenroom.errors import Misuse, NotMet
from greenroom.people.person import Person
from greenroom.people.seen import Seen
from greenroom.scenarios import findings
from greenroom.scenarios.findings import Finding, all_of, cannot_tell, failed
from greenroom.scenarios.observed import Observed, Question, Why
from greenroom.scenarios.scenario import Suits, scenario
from greenroom.scenarios.stage import TRIES, Stage
from greenroom.waiting import NotYet

ENCRYPTED = Suits("`encrypted: yes`", lambda promises: promises.encrypted)
READS = Suits(
    "`encrypted: yes` and a bot that is asked in the chat",
    lambda promises: promises.encrypted and promises.pulled is None,
)
IN_ROOMS_OF_PEOPLE = Suits(
    "`encrypted: yes` without `chat: made by the bot`",
    lambda promises: promises.encrypted and promises.chat != "made by the bot",
)


# -- the rules


def keeps_its_device(observed: Observed, way: str) -> Iterator[Finding]:
    """After the restart the bot is the same device: it published no other keys."""
    before, after = observed.facts.get("devices before"), observed.facts.get("devices after")
    if before is None or after is None:
        return
    if new := sorted(set(after) - set(before)):
        yield failed(f"the bot came back as a new device, {new[0]} instead of {', '.join(before)}: it lost its keys")
    yield from _other_keys(before, after)


def _other_keys(before: dict[str, str], after: dict[str, str]) -> Iterator[Finding]:
    for device in sorted(before.keys() & after.keys()):
        if before[device] != after[device]:
            says = f"the bot came back as device {device} with other keys; clients refuse a device whose keys change"
            yield failed(says)


def same_session(observed: Observed, way: str) -> Iterator[Finding]:
    """The owner encrypted the question with keys that the bot had got before, and sent it no new ones."""
    if observed.facts.get("same session") is False:
        yield cannot_tell(
            "the owner's client made new keys meanwhile, so nothing shows whether the bot kept the old ones"
        )


def reads_again(observed: Observed, way: str) -> Iterator[Finding]:
    """After the loss of its keys the bot answers; if not, it may be for keys under the name of its old device."""
    unanswered = list(findings.again(observed, way))
    if unanswered:
        yield from _other_keys(observed.facts.get("devices before", {}), observed.facts.get("devices after", {}))
    yield from unanswered


def had_keys(observed: Observed, way: str) -> Iterator[Finding]:
    """There was a store of keys to lose."""
    if observed.facts.get("files lost") == 0:
        yield cannot_tell(f"nothing could be lost: the bot keeps no keys at {observed.promises.key_store}")


def serves_new_device(observed: Observed, way: str) -> Iterator[Finding]:
    """The owner's new device has read an answer that came after its login."""
    seen = observed.facts.get("answers on the new device")
    if seen and not observed.facts.get("read on the new device"):
        yield failed(f"{seen} answer(s) came after the owner's new device, which could read none of them")


# -- keys


@scenario(
    "keys-after-restart",
    rule=all_of(keeps_its_device, same_session, findings.answered, findings.through),
    suits=READS,
)
async def keys_after_restart(stage: Stage) -> None:
    """After a restart the bot is the same device, and reads a message for which it already has the key."""
    await _with_old_keys(stage, stage.restart_bot)


@scenario(
    "keys-after-kill",
    rule=all_of(keeps_its_device, same_session, findings.answered, findings.through),
    suits=READS,
)
async def keys_after_kill(stage: Stage) -> None:
    """After SIGKILL and a start the bot is the same device, and reads a message for which it already has the key."""

    async def kill_and_start() -> None:
        await stage.kill_bot()
        await stage.start_bot()

    await _with_old_keys(stage, kill_and_start)


async def _with_old_keys(stage: Stage, disturb: Callable[[], Awaitable[None]]) -> None:
    """Ask, with the keys that the bot has, right after a disturbance: the owner has heard of no new device."""
    await stage.bot_at_rest()
    before = await stage.owners_session()
    stage.note(devices_before=await fingerprints(stage))
    await disturb()
    await stage.ask(Why.SUBJECT, knowing=False)
    stage.note(same_session=await stage.owners_session(knowing=False) == before)
    await stage.talk()
    stage.note(devices_after=await fingerprints(stage))


async def fingerprints(stage: Stage) -> dict[str, str]:
    """Return the public key of each device of the bot, by its id."""
    return {device.device_id: device.fingerprint for device in await stage.owner.devices(stage.bot.user_id)}


@scenario("key-store-lost", rule=all_of(had_keys, reads_again, findings.nothing_old_twice), suits=READS)
async def key_store_lost(stage: Stage) -> None:
    """The bot starts without its store of keys. It takes a new device, and reads and answers what comes after."""
    stage.note(devices_before=await fingerprints(stage))
    await stage.stop_bot()
    stage.note(files_lost=delete_keys(stage))
    await stage.start_bot()
    await stage.talk()
    stage.note(devices_after=await fingerprints(stage))


def delete_keys(stage: Stage) -> int:
    """Delete the bot's keys. Return the number of files. Raises Misuse for a path outside the bot's own folder."""
    bot, promised = stage.bot, stage.promises.key_store
    store = (bot.settings.cwd / Template(promised).safe_substitute(bot.known)).resolve()
    if bot.folder.resolve() not in store.parents:
        raise Misuse(f"key_store: {promised} is not in the bot's own folder, and nothing else is deleted")
    found = store.rglob("*") if store.is_dir() else store.parent.glob(f"{store.name}*")
    files = [file for file in found if file.is_file()]
    for file in files:
        file.unlink()
    return len(files)


@scenario("encrypted-while-down", rule=all_of(findings.answered, findings.through), suits=READS)
async def encrypted_while_down(stage: Stage) -> None:
    """While the bot is down, one message comes with keys that it has, one with new keys. It reads and answers both."""
    await stage.stop_bot()
    await stage.ask(Why.SUBJECT)
    stage.owner.client.invalidate_outbound_session(stage.chat)
    await stage.ask(Why.SUBJECT)
    await stage.start_bot()
    await stage.talk()


# -- devices and rooms


@scenario("new-device", rule=all_of(serves_new_device, findings.again), suits=ENCRYPTED)
async def new_device(stage: Stage) -> None:
    """The owner logs in on a second device. It can read one of the bot's next three answers."""
    second = await stage.people.second_device(stage.owner)
    await second.sync()
    came = 0
    for _ in range(TRIES):
        question = await stage.ask(Why.AFTER)
        if not await stage.heard(question):
            break
        came += 1
        if await can_read(second, question, stage):
            stage.note(read_on_the_new_device=True)
            break
    stage.note(answers_on_the_new_device=came)


async def can_read(person: Person, question: Question, stage: Stage) -> bool:
    """Return whether a second device of the owner reads the answer to a question. Its keys come before it, or soon."""
    (answer, *_) = stage.observed.answers_to(question)

    def reads(seen: Seen) -> bool | NotYet:
        found = next((event for event in seen.timeline if event.event_id == answer.event_id), None)
        if found is None:
            return NotYet("the answer has not come")
        return not found.is_unreadable or NotYet("the answer came without its keys")

    try:
        return await person.until(reads, watch=[stage.bot], timeout_s=stage.patience_s / TRIES)
    except NotMet:
        return False


@scenario("encryption-switched-on", rule=all_of(findings.answered, findings.through), suits=IN_ROOMS_OF_PEOPLE)
async def encryption_switched_on(stage: Stage) -> None:
    """A room in use is switched to encryption. From then on the bot answers there encrypted."""
    room = await stage.owner.create_room(is_direct=True, invite=[stage.bot.user_id])
    await must.join(stage.owner, stage.bot, room, timeout_s=stage.patience_s)
    await stage.heard(await stage.ask(Why.FIRST, room=room))
    await stage.bot_at_rest()
    await stage.owner.encrypt(room)
    await stage.heard(await stage.ask(Why.SUBJECT, room=room))
    await stage.talk()
