"""What an owner can tell the bot to do. Each command is a function from a context to the text of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from greenroom_bot.matrix.ids import EventId, RoomId, UserId, server_of
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.records import RoomRow

TITLE_MAX = 120


@dataclass(frozen=True)
class Context:
    """Who asked, where, and with what. `chat` is None in a direct room or a Space. `status` tells about the bot."""

    chats: ChatManager
    owner: UserId
    chat: RoomRow | None
    event_id: EventId
    args: str
    status: Callable[[], list[str]]


class Command(NamedTuple):
    usage: str
    help: str
    run: Callable[[Context], Awaitable[str]]


async def _help(_: Context) -> str:
    return "\n".join(["I keep one room per chat. Commands:", *(f"{c.usage} - {c.help}" for c in COMMANDS.values())])


async def _new(ctx: Context) -> str:
    if problem := _title_problem(ctx.args):
        return problem
    row = await ctx.chats.new_chat(ctx.owner, ctx.args, ctx.event_id)
    return f"Made {row.chat_id} “{row.title}”, you are invited: {link(row.room_id, ctx.owner)}"


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
    row = ctx.chat if ctx.chat.archived else await ctx.chats.archive(ctx.chat)
    return f"{row.chat_id} is archived: I answer nothing here any more. Room and history stay. !new starts another."


async def _chats(ctx: Context) -> str:
    rows = [row for row in ctx.chats.store.chats_of(ctx.owner) if row.status != "conflict"]
    if not rows:
        return "You have no chats yet. !new makes one."
    return "\n".join(["Your chats:", *(_line(row) for row in rows)])


async def _status(ctx: Context) -> str:
    rows = ctx.chats.store.chats_of(ctx.owner)
    here = [f"This is {ctx.chat.chat_id} “{ctx.chat.title}”{_state(ctx.chat)}."] if ctx.chat else []
    return "\n".join([*here, f"You have {len(rows)} chats with me.", *ctx.status()])


COMMANDS: dict[str, Command] = {
    "help": Command("!help", "this list", _help),
    "new": Command("!new [title]", "make another chat", _new),
    "rename": Command("!rename TITLE", "rename this chat", _rename),
    "archive": Command("!archive", "close this chat; the room stays", _archive),
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


def _title_problem(title: str) -> str:
    if len(title) > TITLE_MAX:
        return f"A title may have {TITLE_MAX} characters, this one has {len(title)}."
    return "A title is a single line." if "\n" in title else ""


def _line(row: RoomRow) -> str:
    return f"{row.chat_id} “{row.title}”{_state(row)} {link(row.room_id, row.owner)}"


def _state(row: RoomRow) -> str:
    marks = [*(["archived"] if row.archived else []), *([row.status] if row.status != "active" else [])]
    return f" ({', '.join(marks)})" if marks else ""
