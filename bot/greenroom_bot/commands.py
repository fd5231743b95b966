"""What an owner can tell the bot to do. Each command is a function from a context to the text of the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from greenroom_bot.matrix.ids import EventId, RoomId, UserId, server_of
from greenroom_bot.rooms.chats import ChatManager, Provisioned
from greenroom_bot.rooms.records import RoomRow
from greenroom_bot.rooms.titles import TITLE_MAX

LIST_MAX_BYTES = 40_000
"""Of the 65,536 that an event holds: encryption adds a third."""


@dataclass(frozen=True)
class Context:
    """Who asked, where, and with what. `chat` is None in a direct room or a Space. `status` tells about the bot.

    `encrypted`: the question came from an encrypted room.
    """

    chats: ChatManager
    owner: UserId
    chat: RoomRow | None
    event_id: EventId
    args: str
    status: Callable[[], list[str]]
    encrypted: bool = False


class Command(NamedTuple):
    usage: str
    help: str
    run: Callable[[Context], Awaitable[str]]


async def _help(_: Context) -> str:
    return "\n".join(["I keep one room per chat. Commands:", *(f"{c.usage} - {c.help}" for c in COMMANDS.values())])


async def _new(ctx: Context) -> str:
    if problem := _title_problem(ctx.args):
        return problem
    made = await ctx.chats.new_chat(ctx.owner, ctx.args, ctx.event_id, encrypted=ctx.encrypted)
    text = f"Made {made.chat.chat_id} “{made.chat.title}”, you are invited: {link(made.chat.room_id, ctx.owner)}"
    if made.new_space:
        text += f"\nI made you a Space for your open chats, too: {link(made.space.room_id, ctx.owner)}"
    return text


async def _rename(ctx: Context) -> str:
    if ctx.chat is None:
        return "Say !rename in the chat that you want to rename."
    if not ctx.args:
        return f"Usage: {COMMANDS['rename'].usage}"
    if problem := _title_problem(ctx.args):
        return problem
    row = await ctx.chats.rename(ctx.chat, ctx.args)
    return f"{row.chat_id} is now “{row.title}”."


async def _archive(ctx: Context) -> str:
    if ctx.chat is None:
        return "Say !archive in the chat that you want to archive."
    if ctx.args:
        return f"Usage: {COMMANDS['archive'].usage}, in the chat itself"
    row = await ctx.chats.archive(ctx.chat)
    return (
        f"{row.chat_id} is archived: from now on I take only commands here. Room and history stay. "
        "!restore opens it again, !new starts another."
    )


async def _restore(ctx: Context) -> str:
    chat = ctx.chat
    if ctx.args:
        chat = next((row for row in _chats_of(ctx) if row.chat_id == ctx.args.upper()), None)
        if chat is None:
            return f"You have no chat {ctx.args[:40]}. !chats lists what you have."
    if chat is None:
        return f"Say !restore in the chat, or name it: {COMMANDS['restore'].usage}."
    row = await ctx.chats.restore(chat)
    return f"{row.chat_id} “{row.title}” is open again: {link(row.room_id, ctx.owner)}"


async def _chats(ctx: Context) -> str:
    rows = _chats_of(ctx)
    if not rows:
        return "You have no chats yet. !new makes one."
    lines: list[str] = []
    left_bytes = LIST_MAX_BYTES
    for line in map(_line, reversed(rows)):  # the newest ones, as many as fit
        left_bytes -= len(json.dumps(line))
        if left_bytes < 0:
            break
        lines.insert(0, line)
    more = len(rows) - len(lines)
    return "\n".join([f"Your chats, and {more} older ones:" if more else "Your chats:", *lines])


async def _status(ctx: Context) -> str:
    count = len(_chats_of(ctx))
    here = [f"This is {ctx.chat.chat_id} “{ctx.chat.title}”{_state(ctx.chat)}."] if ctx.chat else []
    return "\n".join([*here, f"You have {count} {'chat' if count == 1 else 'chats'} with me.", *ctx.status()])


COMMANDS: dict[str, Command] = {
    "help": Command("!help", "this list", _help),
    "new": Command("!new [title]", "make another chat", _new),
    "rename": Command("!rename TITLE", "rename this chat", _rename),
    "archive": Command("!archive", "close this chat; the room stays, and commands work", _archive),
    "restore": Command("!restore [C3]", "open an archived chat again: this one, or the one named", _restore),
    "chats": Command("!chats", "list your chats", _chats),
    "status": Command("!status", "how I am doing", _status),
}


def is_command(body: str) -> bool:
    """Return whether a message is meant as a command: an exclamation mark with a word right behind it."""
    return len(body) > 1 and body[0] == "!" and body[1].isalpha()


async def execute(body: str, context: Callable[[str], Context]) -> str:
    """Run the command in `body` and return what to say. `context` is given the arguments."""
    name, *args = body[1:].split(maxsplit=1)
    command = COMMANDS.get(name.lower())
    if command is None:
        return f"I do not know !{name[:40]}. !help lists what I know."
    return await command.run(context("".join(args).strip()))


def link(room_id: RoomId, user_id: UserId) -> str:
    """Return a matrix.to link; `via` because a version-12 room id names no server."""
    return f"https://matrix.to/#/{quote(room_id, safe='!:')}?via={quote(server_of(user_id), safe='')}"


def greeting(made: Provisioned) -> str:
    """Return what to say to a person who invited the bot: what was made for them, and what they have already."""
    person = made.space.owner
    space, chat = (f"“{row.title}” {link(row.room_id, person)}" for row in (made.space, made.chat))
    match made.new_space, made.new_chat:
        case True, True:
            text = f"I made you the Space {space} with the chat {chat}; you are invited to both."
        case True, False:
            text = f"I made you the Space {space}; you are invited. It lists your open chats: {chat} is one."
        case False, True:
            text = f"I made you the chat {chat} in your Space {space}; you are invited."
        case _:
            text = f"You have the Space {space} with the chat {chat} already."
    return f"Hello! {text} Write to me there. !help lists what else I know."


def _chats_of(ctx: Context) -> list[RoomRow]:
    return [row for row in ctx.chats.store.chats_of(ctx.owner) if row.status != "conflict"]


def _title_problem(title: str) -> str:
    if len(title) > TITLE_MAX:
        return f"A title may have {TITLE_MAX} characters, this one has {len(title)}."
    return "A title is a single line." if len(title.splitlines()) > 1 else ""


def _line(row: RoomRow) -> str:
    return f"{row.chat_id} “{row.title}”{_state(row)} {link(row.room_id, row.owner)}"


def _state(row: RoomRow) -> str:
    marks = [*(["archived"] if row.archived else []), *([row.status] if row.status != "active" else [])]
    return f" ({', '.join(marks)})" if marks else ""
