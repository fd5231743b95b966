"""The decision: server view and local rows in, one outcome per room out. No I/O, no clock, no writes to the server.

Where several rules of `RULES` fit a room, the first one decides; the conflicts of `CONFLICTS` come in the order of that
table. The server's identity event is the truth, and the local row follows it. A row is never dropped, only marked.
What the bot cannot know now it skips; it never guesses.

State in Matrix never vanishes; a newer event replaces it. So a fact that the view does not mention has not changed, and
the row keeps it. Servers do leave state out of a sync: Synapse does so for events that were sent at the same moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.identity import Identity, MalformedIdentity
from greenroom_bot.rooms.records import RoomRow, Status
from greenroom_bot.rooms.titles import title_or_default
from greenroom_bot.rooms.view import RoomView, ServerView, can_keep_identity

RULES: dict[str, str] = {
    "invite_pending": "the bot is invited; it answers after start-up, never during it",
    "left_offline": "the bot was kicked or banned, or it left; the row is marked `left`",
    "skipped": "the room is not the bot's to judge (`not_ours`, `other_instance`, `direct_room`, `left_before`), or "
    "the bot cannot know its state now (`fetch_failed`, `membership_unclear`); no row is marked",
    "conflict": "the room contradicts its row, another room or itself; each kind of conflict has one rule",
    "tombstoned": "another room replaced this one; the row names it and says whether the bot is in it",
    "orphaned_no_owner": "the owner left or was banned; the row is marked, and the chat id stays taken",
    "power_lost": "the bot may no longer write the identity event; the row is marked, and messages are still answered",
    "recovered": "a valid identity has no local row; the row is rebuilt from it",
    "registered": "a room whose creation was interrupted gets its row, a marked room is whole again, or nothing "
    "changed but a fact without an outcome of its own",
    "archived": "the identity's `archived` flag changed; the row follows",
    "renamed": "the room's name changed; the row follows",
    "relinked": "the Space's child list or the chat's Space changed; the row follows, and the Space stays as it is",
    "encrypted": "encryption was switched on; the row follows (nobody can switch it off again)",
    "unchanged": "row and server agree",
}
"""Outcome -> when it fits and what follows. The documents print this table."""

CONFLICTS: dict[str, str] = {
    "identity_missing": "a room that the bot made or has a row for has no identity; the row stays as it is",
    "forged_identity": "somebody else wrote the identity; an existing row stays as it is",
    "malformed_identity": "the bot cannot read its own identity event; an existing row stays as it is",
    "kind_mismatch": "the identity's kind and the room's type disagree; an existing row stays as it is",
    "duplicate_chat_id": "two rooms in use claim one chat of one person; the older (server clock, then room id) has "
    "it, and the younger is not routed",
    "duplicate_space": "two Spaces in use belong to one person; the older gets the new chats",
    "local_mismatch": "the row names another chat, owner or kind than the identity; the row follows the server",
}
"""Kind of conflict -> what it is, and its one rule. The documents print this table."""

_OUTCOME_OF_STATUS: dict[Status, str] = {
    "left": "left_offline", "tombstoned": "tombstoned", "orphaned": "orphaned_no_owner", "powerless": "power_lost",
}  # fmt: skip
_OUTCOME_OF_FIELD = {
    "archived": "archived", "title": "renamed", "linked": "relinked", "space_id": "relinked", "encrypted": "encrypted",
}  # fmt: skip
_SETTLED = ("not_ours", "other_instance", "direct_room", "left_before")
"""Reasons to skip a room that want nobody's attention."""
_GONE: tuple[Status, ...] = ("left", "tombstoned", "orphaned")
"""Marks that let another room of the same chat take over without a conflict."""


@dataclass(frozen=True)
class RoomOutcome:
    """The verdict on one room.

    `row` is what to write locally, None if nothing changes. `reason` refines `skipped` and `conflict`; `detail` is for
    a person; `changes` names every field of the row that changed.
    """

    room_id: RoomId
    outcome: str
    reason: str = ""
    detail: str = ""
    row: RoomRow | None = None
    changes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the parts that are not empty, for reports."""
        parts = {"reason": self.reason, "detail": self.detail, "changes": list(self.changes)}
        return {"room_id": self.room_id, "outcome": self.outcome, **{k: v for k, v in parts.items() if v}}


@dataclass(frozen=True)
class Plan:
    """All verdicts. A plan cannot touch the server: to apply it is to write `rows` in one transaction."""

    outcomes: tuple[RoomOutcome, ...]
    degraded: bool = False

    @property
    def rows(self) -> tuple[RoomRow, ...]:
        return tuple(o.row for o in self.outcomes if o.row is not None)

    @property
    def in_step(self) -> bool:
        """Whether server and records agree: nothing to write, no conflict, no unanswered invite, nothing unknown."""
        settled = ("unchanged", *_OUTCOME_OF_STATUS.values())
        return not self.degraded and all(
            o.row is None and (o.outcome in settled or o.reason in _SETTLED) for o in self.outcomes
        )

    def report(self) -> dict[str, Any]:
        """Return a counter per outcome (they add up to `rooms_seen`), the reasons, and the rooms that changed."""
        counts = Counter(o.outcome for o in self.outcomes)
        return {
            "rooms_seen": len(self.outcomes),
            "outcomes": {name: counts[name] for name in RULES},
            "reasons": dict(sorted(Counter(o.reason for o in self.outcomes if o.reason).items())),
            "degraded": self.degraded,
            "rooms": [o.as_dict() for o in self.outcomes if o.outcome not in ("unchanged", "skipped")],
        }


def plan(view: ServerView, rows: Mapping[RoomId, RoomRow], *, instance: str, interrupted: Iterable[str] = ()) -> Plan:
    """Judge every room of the view and of the rows; with an incomplete view only the rooms in it.

    `interrupted` holds the requests whose room was still being made when the bot last stopped.
    """
    seen: set[RoomId] = set(view.rooms)
    if view.complete:
        seen |= set(rows) | (view.joined or frozenset())
    carriers = (room for room in view.rooms.values() if room.identity is not None)
    identities = {room.room_id: _believed(room, view.me, instance) for room in carriers}
    judge = _Judge(view, rows, identities, _holders(view, rows, identities), frozenset(interrupted))
    return Plan(tuple(judge(room_id) for room_id in sorted(seen)), degraded=view.joined is None)


def _believed(room: RoomView, me: UserId, instance: str) -> Identity | RoomOutcome:
    """Return the room's identity if we wrote it, can read it, and it fits instance and room; else the verdict."""
    if room.identity_sender != me:
        return _conflict(room, "forged_identity", f"written by {room.identity_sender}")
    try:
        identity = Identity.parse(room.identity or {})
    except MalformedIdentity as error:
        return _conflict(room, "malformed_identity", str(error))
    if identity.instance != instance:
        return RoomOutcome(room.room_id, "skipped", "other_instance", identity.instance)
    if (identity.kind == "space") != room.is_space:
        return _conflict(room, "kind_mismatch", f"identity says {identity.kind}, the room's type disagrees")
    return identity


@dataclass(frozen=True)
class _Judge:
    view: ServerView
    rows: Mapping[RoomId, RoomRow]
    identities: Mapping[RoomId, Identity | RoomOutcome]
    holders: Mapping[tuple[UserId, ChatId], RoomId]
    interrupted: frozenset[str]

    def __call__(self, room_id: RoomId) -> RoomOutcome:
        room, row = self.view.rooms.get(room_id), self.rows.get(room_id)
        may_be_in = self.view.joined is None or room_id in self.view.joined
        if room is None:  # absence from a sync alone never means "left": `joined_rooms` has to agree
            gone = "no longer among our joined rooms"
            return RoomOutcome(room_id, "skipped", "fetch_failed") if may_be_in else self._left(room_id, row, gone)
        if room.membership == "invite":
            return RoomOutcome(room_id, "invite_pending")
        if self.view.complete and (room.membership == "join") != may_be_in:
            return RoomOutcome(room_id, "skipped", "membership_unclear")
        if room.membership != "join":
            return self._left(room_id, row, room.left_because)
        match self.identities.get(room_id):
            case None:
                return self._without_identity(room, row)
            case Identity() as identity:
                return self._with_identity(room, identity, row)
            case verdict:
                return verdict

    def _left(self, room_id: RoomId, row: RoomRow | None, why: str) -> RoomOutcome:
        identity = self.identities.get(room_id)
        if row is None and isinstance(identity, Identity):  # else another room would get this room's chat id
            row = self._row(self.view.rooms[room_id], identity, None)
        if row is None:
            return RoomOutcome(room_id, "skipped", "left_before", why)
        if row.status == "left":
            return RoomOutcome(room_id, "unchanged")
        return RoomOutcome(room_id, "left_offline", detail=why, row=replace(row, status="left", detail=why))

    def _without_identity(self, room: RoomView, row: RoomRow | None) -> RoomOutcome:
        if row is None or row.kind == "direct":
            person = self.view.direct.get(room.room_id) or (row.owner if row else None)
            encrypted = room.encrypted or bool(row and row.encrypted)
            if person:
                wanted = RoomRow(room.room_id, "direct", ChatId(""), person, encrypted=encrypted)
                return RoomOutcome(room.room_id, "skipped", "direct_room", row=wanted if wanted != row else None)
        if row or room.created_by == self.view.me:
            return _conflict(room, "identity_missing", "no identity event in the room's state")
        return RoomOutcome(room.room_id, "skipped", "not_ours")

    def _with_identity(self, room: RoomView, identity: Identity, row: RoomRow | None) -> RoomOutcome:
        wanted = self._row(room, identity, row)
        holder = self.holders.get((identity.owner, identity.chat_id), room.room_id)
        if holder != room.room_id and wanted.status not in _GONE:
            kind = "duplicate_space" if identity.kind == "space" else "duplicate_chat_id"
            detail = f"{identity.chat_id} of {identity.owner} is {holder}"
            marked = replace(wanted, status="conflict", detail=detail)
            return _conflict(room, kind, detail, marked if row and marked != row else None)
        if row and (row.kind, row.chat_id, row.owner) != (identity.kind, identity.chat_id, identity.owner):
            return _conflict(room, "local_mismatch", f"row said {row.chat_id} of {row.owner}", wanted)
        return self._compare(wanted, row)

    def _compare(self, wanted: RoomRow, row: RoomRow | None) -> RoomOutcome:
        """Name the difference between the row there is and the row there should be."""
        changes = tuple(f for f in RoomRow.__dataclass_fields__ if row and getattr(wanted, f) != getattr(row, f))
        if row and not changes:
            return RoomOutcome(wanted.room_id, "unchanged")
        if row is None or "status" in changes or "detail" in changes:
            back = "recovered" if row is None and wanted.request not in self.interrupted else "registered"
            outcome = _OUTCOME_OF_STATUS.get(wanted.status, back)
        else:
            named = {_OUTCOME_OF_FIELD.get(f) for f in changes}
            outcome = next((rule for rule in RULES if rule in named), "registered")
        return RoomOutcome(wanted.room_id, outcome, detail=wanted.detail, row=wanted, changes=changes)

    def _row(self, room: RoomView, identity: Identity, row: RoomRow | None) -> RoomRow:
        """Return the row that the room should have: what the view says, and where it says nothing, what `row` says."""
        status, detail = _status(room, identity, self.view)
        if row and row.status == "tombstoned" and room.replaced_by is None:
            status, detail = row.status, row.detail
        unnamed = row.title if row and room.name is None else identity.title
        title = title_or_default(room.name or unnamed, identity.chat_id, identity.owner)
        return RoomRow(
            room_id=room.room_id,
            kind=identity.kind,
            chat_id=identity.chat_id,
            owner=identity.owner,
            space_id=identity.space_id,
            title=title,
            archived=identity.archived,
            linked=self._linked(room.room_id, identity, row),
            encrypted=room.encrypted or bool(row and row.encrypted),
            status=status,
            detail=detail,
            request=identity.request,
            created_ts=room.created_ts,
        )

    def _linked(self, room_id: RoomId, identity: Identity, row: RoomRow | None) -> bool:
        space = self.view.rooms.get(identity.space_id) if identity.space_id else None
        if space is None and not self.view.complete:
            return row.linked if row else bool(identity.space_id) and not identity.archived
        if space is None or space.membership != "join":
            return False
        return space.children.get(room_id, row.linked if row else False)


def _conflict(room: RoomView, kind: str, detail: str, row: RoomRow | None = None) -> RoomOutcome:
    return RoomOutcome(room.room_id, "conflict", kind, detail, row=row)


def _status(room: RoomView, identity: Identity, view: ServerView) -> tuple[Status, str]:
    if room.replaced_by is not None:
        if not room.replaced_by:
            return "tombstoned", "replaced by nothing"
        known = view.joined if view.joined is not None else view.rooms.keys()
        where = "joined" if room.replaced_by in known else "not joined"
        return "tombstoned", f"replaced by {room.replaced_by} ({where})"
    if (gone := room.members.get(identity.owner)) in ("leave", "ban"):
        return "orphaned", f"{identity.owner} {'was banned' if gone == 'ban' else 'left'}"
    if not can_keep_identity(room):
        return "powerless", f"our power is {room.my_power:g}"
    return "active", ""


Claim = tuple[tuple[bool, int, RoomId], tuple[UserId, ChatId]]
"""A room's claim to a chat: its rank (out of use, age, room id), where less is better, and the chat."""


def _holders(
    view: ServerView, rows: Mapping[RoomId, RoomRow], identities: Mapping[RoomId, Identity | RoomOutcome]
) -> dict[tuple[UserId, ChatId], RoomId]:
    """Decide which room holds each chat, over all rooms before any single room is judged.

    Rooms in use come before abandoned ones, then older rooms before younger ones. Only facts of the server count, so a
    lost database leads to the same holders.
    """
    claims: list[Claim] = []
    for room_id, room in view.rooms.items():
        identity = identities.get(room_id)
        if room.membership == "join" and isinstance(identity, Identity):
            out_of_use = _status(room, identity, view)[0] in _GONE
            claims.append(((out_of_use, room.created_ts, room_id), (identity.owner, identity.chat_id)))
    for room_id in rows.keys() - view.rooms.keys():  # a room that could not be looked at claims by its row
        row = rows[room_id]
        gone = view.complete and view.joined is not None and room_id not in view.joined
        if not gone and row.kind != "direct" and row.status not in ("left", "conflict"):
            claims.append(((row.status in _GONE, row.created_ts, room_id), (row.owner, row.chat_id)))
    return {chat: rank[-1] for rank, chat in sorted(claims, reverse=True)}  # the best claim comes last and stays
