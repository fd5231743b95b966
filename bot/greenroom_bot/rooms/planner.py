"""The decision: server view and local rows in, one outcome per room out. No I/O, no clock, no writes to the server.

`RULES` and `CONFLICTS` name every outcome with its one rule. The server's identity event is the truth and local rows
follow it. Rows are never dropped, only marked. A room about which something cannot be known is skipped, never guessed.

State in Matrix never vanishes, it is only replaced: a fact that is missing from the picture has not changed. Servers do
leave state out of a sync (Synapse, of a room whose last events were sent at the same moment), so a fact that the row
has and the picture lacks stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from greenroom_bot.matrix.ids import ChatId, RoomId, UserId
from greenroom_bot.rooms.identity import Identity, MalformedIdentity
from greenroom_bot.rooms.records import RoomRow, Status
from greenroom_bot.rooms.view import RoomView, ServerView, can_keep_identity

RULES: dict[str, str] = {
    "invite_pending": "the bot is invited; it answers after start-up, never during it",
    "left_offline": "the bot was kicked or banned, left, or is no longer in `joined_rooms`; the row is marked `left`",
    "tombstoned": "the room was replaced; the row names the new room and whether the bot is in it",
    "orphaned_no_owner": "the owner left or was banned; the row is marked, the chat id stays taken",
    "power_lost": "the bot may no longer write the identity event; the row is marked, messages are still answered",
    "recovered": "a valid identity without a local row: the row is rebuilt from it",
    "registered": "a room whose creation was interrupted gets its row, or a marked row is active again",
    "archived": "the identity's `archived` flag changed; the row follows",
    "renamed": "the room's name changed; the row follows",
    "relinked": "the Space's child list or the chat's Space changed; the row follows, the Space is not touched",
    "encrypted": "encryption was switched on; the row follows (encryption is never switched off)",
    "unchanged": "row and server agree",
    "skipped": "not the bot's to judge (`not_ours`, `other_instance`, `direct_room`, `left_before`) or not known now "
    "(`fetch_failed`, `membership_unclear`); a row is never marked for it",
}
"""Outcome -> when, and the one rule. docs/reconciliation.md prints it."""

CONFLICTS: dict[str, str] = {
    "identity_missing": "a room of the bot, or one with a row, has no identity: the row stays, none is made up",
    "forged_identity": "somebody else wrote the identity: it is not believed; an existing row stays as it is",
    "malformed_identity": "the bot's own identity event cannot be read: not believed; an existing row stays as it is",
    "kind_mismatch": "the identity's kind and the room's type disagree: not believed; an existing row stays as it is",
    "duplicate_chat_id": "two rooms claim one chat of one person: the older (server clock, then room id) has it, "
    "the younger is not routed",
    "duplicate_space": "two Spaces of one person: the older has it, the younger is not used for new chats",
    "local_mismatch": "the row names another chat, owner or kind than the identity: the server wins, the row follows",
}
"""Conflict kind -> what it is, and its one fixed rule. docs/reconciliation.md prints it."""

_STATUS_OUTCOME: dict[Status, str] = {
    "left": "left_offline", "tombstoned": "tombstoned", "orphaned": "orphaned_no_owner", "powerless": "power_lost",
}  # fmt: skip


_GONE: tuple[Status, ...] = ("left", "tombstoned", "orphaned")
"""Statuses that let another room of the same chat take over without a conflict."""


@dataclass(frozen=True)
class RoomOutcome:
    """The verdict on one room. `row`: what to write locally, None when nothing changes. `reason` refines
    `skipped` and `conflict`; `detail` is for a person; `changes` names every field that moved."""

    room_id: RoomId
    outcome: str
    reason: str = ""
    detail: str = ""
    row: RoomRow | None = None
    changes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the parts that say something, for reports."""
        parts = {"reason": self.reason, "detail": self.detail, "changes": list(self.changes)}
        return {"room_id": self.room_id, "outcome": self.outcome, **{k: v for k, v in parts.items() if v}}


@dataclass(frozen=True)
class Plan:
    """All verdicts, and nothing that could touch the server: applying is writing `rows` in one transaction."""

    outcomes: tuple[RoomOutcome, ...]
    degraded: bool = False

    @property
    def rows(self) -> tuple[RoomRow, ...]:
        return tuple(o.row for o in self.outcomes if o.row is not None)

    @property
    def in_step(self) -> bool:
        """Whether server and records agree: nothing to write, no conflict, no unanswered invite, nothing unknown."""
        settled = ("not_ours", "other_instance", "direct_room", "left_before")
        return not self.degraded and all(
            o.row is None and (o.outcome == "unchanged" or o.reason in settled or o.outcome in _STATUS_OUTCOME.values())
            for o in self.outcomes
        )

    def report(self) -> dict[str, Any]:
        """Return counters per outcome (all of them, adding up to `rooms_seen`), sub-reasons, and what stands out."""
        counts = Counter(o.outcome for o in self.outcomes)
        return {
            "rooms_seen": len(self.outcomes),
            "outcomes": {name: counts[name] for name in (*RULES, "conflict")},
            "reasons": dict(sorted(Counter(o.reason for o in self.outcomes if o.reason).items())),
            "degraded": self.degraded,
            "rooms": [o.as_dict() for o in self.outcomes if o.outcome not in ("unchanged", "skipped")],
        }


def plan(
    view: ServerView,
    rows: Mapping[RoomId, RoomRow],
    *,
    instance: str,
    interrupted: Iterable[str] = (),
) -> Plan:
    """Judge every room of the view and of the rows; with an incomplete view only the rooms in it.

    `interrupted` holds the requests whose room was being made when we last stopped.
    """
    seen: set[RoomId] = set(view.rooms)
    if view.complete:
        seen |= set(rows) | (view.joined or frozenset())
    judge = _Judge(view, rows, instance, frozenset(interrupted), _holders(view, rows, instance))
    return Plan(tuple(judge(room_id) for room_id in sorted(seen)), degraded=view.joined is None)


@dataclass(frozen=True)
class _Judge:
    view: ServerView
    rows: Mapping[RoomId, RoomRow]
    instance: str
    interrupted: frozenset[str]
    holders: Mapping[tuple[UserId, ChatId], RoomId]

    def __call__(self, room_id: RoomId) -> RoomOutcome:
        room, row = self.view.rooms.get(room_id), self.rows.get(room_id)
        if room is None:
            return self._absent(room_id, row)
        if room.membership == "invite":
            return RoomOutcome(room_id, "invite_pending")
        if room.membership != "join":
            if self.view.complete and (self.view.joined is None or room_id in self.view.joined):
                return RoomOutcome(room_id, "skipped", "membership_unclear")
            return self._left(room_id, row, room.left_because)
        if self.view.joined is not None and room_id not in self.view.joined:
            return RoomOutcome(room_id, "skipped", "membership_unclear")
        if room.identity is None:
            return self._without_identity(room, row)
        return self._with_identity(room, row)

    def _absent(self, room_id: RoomId, row: RoomRow | None) -> RoomOutcome:
        """Absence from a sync alone never means "left": `joined_rooms` has to agree."""
        if self.view.joined is None or room_id in self.view.joined:
            return RoomOutcome(room_id, "skipped", "fetch_failed")
        return self._left(room_id, row, "no longer among our joined rooms")

    def _left(self, room_id: RoomId, row: RoomRow | None, why: str) -> RoomOutcome:
        if row is None:
            if lost := self._lost_row(room_id):
                return RoomOutcome(room_id, "left_offline", detail=why, row=replace(lost, status="left", detail=why))
            return RoomOutcome(room_id, "skipped", "left_before", why)
        if row.status == "left":
            return RoomOutcome(room_id, "unchanged")
        return RoomOutcome(room_id, "left_offline", detail=why, row=replace(row, status="left", detail=why))

    def _lost_row(self, room_id: RoomId) -> RoomRow | None:
        """Rebuild the row of a left room of the bot, so that its chat id is not used again."""
        room = self.view.rooms.get(room_id)
        identity = read_identity(room, self.view.me, self.instance) if room else None
        return self._row(room, identity, None) if room and isinstance(identity, Identity) else None

    def _without_identity(self, room: RoomView, row: RoomRow | None) -> RoomOutcome:
        if person := self.view.direct.get(room.room_id):
            encrypted = room.encrypted or bool(row and row.encrypted)
            wanted = RoomRow(room.room_id, "direct", ChatId(""), person, encrypted=encrypted)
            changed = row if row and row.kind != "direct" else None
            if changed is None:
                return RoomOutcome(room.room_id, "skipped", "direct_room", row=wanted if row != wanted else None)
        if row and row.kind == "direct":
            return RoomOutcome(room.room_id, "skipped", "direct_room")
        if row or room.created_by == self.view.me:
            return _conflict(room, "identity_missing", "no identity event in the room's state")
        return RoomOutcome(room.room_id, "skipped", "not_ours")

    def _with_identity(self, room: RoomView, row: RoomRow | None) -> RoomOutcome:
        identity = read_identity(room, self.view.me, self.instance)
        if isinstance(identity, RoomOutcome):
            return identity
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
        """Return the outcome that names the difference between the present row and the wanted row."""
        if row is None:
            back = "registered" if wanted.request in self.interrupted else "recovered"
            outcome = _STATUS_OUTCOME.get(wanted.status, back)
            return RoomOutcome(wanted.room_id, outcome, detail=wanted.detail, row=wanted)
        changes = tuple(name for name in RoomRow.__dataclass_fields__ if getattr(wanted, name) != getattr(row, name))
        if not changes:
            return RoomOutcome(wanted.room_id, "unchanged")
        if "status" in changes or "detail" in changes:
            outcome = _STATUS_OUTCOME.get(wanted.status, "registered")
        else:
            by_field = {"archived": "archived", "title": "renamed", "linked": "relinked", "space_id": "relinked"}
            outcome = next((by_field[c] for c in by_field if c in changes), "")
            outcome = outcome or ("encrypted" if "encrypted" in changes else "registered")
        return RoomOutcome(wanted.room_id, outcome, detail=wanted.detail, row=wanted, changes=changes)

    def _row(self, room: RoomView, identity: Identity, row: RoomRow | None) -> RoomRow:
        status, detail = _status(room, identity, self.view)
        if row and row.status == "tombstoned" and room.replaced_by is None:
            status, detail = row.status, row.detail
        unnamed = row.title if row and room.name is None else identity.title
        return RoomRow(
            room_id=room.room_id,
            kind=identity.kind,
            chat_id=identity.chat_id,
            owner=identity.owner,
            space_id=identity.space_id,
            title=room.name or unnamed,
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
            return row.linked if row else identity.space_id is not None and not identity.archived
        if space is None or space.membership != "join":
            return False
        return space.children.get(room_id, row.linked if row else False)


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


def _holders(view: ServerView, rows: Mapping[RoomId, RoomRow], instance: str) -> dict[tuple[UserId, ChatId], RoomId]:
    """Decide who holds each (owner, chat id), over all rooms before any single room is judged.

    Rooms in use come before abandoned ones, then the older before the younger: facts of the server alone, so that a
    lost database leads to the same holders.
    """
    best: dict[tuple[UserId, ChatId], tuple[bool, int, RoomId]] = {}
    for room_id in view.rooms.keys() | rows.keys():
        claim = _claim(room_id, view, rows.get(room_id), instance)
        if claim and (claim[0] not in best or claim[1] < best[claim[0]]):
            best[claim[0]] = claim[1]
    return {key: room_id for key, (*_, room_id) in best.items()}


def _claim(
    room_id: RoomId, view: ServerView, row: RoomRow | None, instance: str
) -> tuple[tuple[UserId, ChatId], tuple[bool, int, RoomId]] | None:
    """Return ((owner, chat id), rank) if this room claims a chat: by its identity, or by its row where the room could
    not be looked at."""
    room = view.rooms.get(room_id)
    if room is None:
        gone = view.complete and view.joined is not None and room_id not in view.joined
        if gone or row is None or row.kind == "direct" or row.status in ("left", "conflict"):
            return None
        return (row.owner, row.chat_id), (row.status in _GONE, row.created_ts, room_id)
    identity = read_identity(room, view.me, instance) if room.membership == "join" else None
    if not isinstance(identity, Identity):
        return None
    return (identity.owner, identity.chat_id), (_status(room, identity, view)[0] in _GONE, room.created_ts, room_id)


def read_identity(room: RoomView, me: UserId, instance: str) -> Identity | RoomOutcome:
    """Return the room's identity if it is the bot's own, well formed, of this instance, and fits the room; otherwise
    the verdict that says why it is not believed."""
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


def _conflict(room: RoomView, kind: str, detail: str, row: RoomRow | None = None) -> RoomOutcome:
    return RoomOutcome(room.room_id, "conflict", kind, detail, row=row)
