"""What a person can do: rooms, members, state and messages, each through matrix-nio or a plain API call.

Whatever the homeserver refuses is raised as MatrixRefused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import nio

from harness import relations
from harness.errors import MatrixRefused
from harness.homeserver.interface import RunningHomeserver
from harness.matrix_api import MatrixApi, path
from harness.seen import Raw
from harness.spaces import SpaceTree, read_space_tree

R = TypeVar("R", bound=nio.Response)


def expect(response: object, wanted: type[R]) -> R:
    """Give the response if it is a success, else raise MatrixRefused.

    The class alone does not tell: for some failures nio 0.26 returns the success class (a 502 with an HTML body on
    leave and forget, a 403 on a state read), so the HTTP status is asked as well.
    """
    transport = getattr(response, "transport_response", None)
    status = getattr(transport, "status", 0)
    if isinstance(response, wanted) and (transport is None or 200 <= status < 300):
        return response
    body = {"errcode": getattr(response, "status_code", ""), "error": getattr(response, "message", str(response))}
    raise MatrixRefused(wanted.__name__.removesuffix("Response"), status, body)


class Acts:
    """The acts of one account, logged in with `client`."""

    server: RunningHomeserver
    client: nio.AsyncClient

    @property
    def user_id(self) -> str:
        """Their Matrix id."""
        return str(self.client.user_id)

    # -- rooms

    async def create_direct(self, other: str, *, name: str | None = None, encrypted: bool = False) -> str:
        """Create a direct chat as Element does: invite, `is_direct`, recorded in `m.direct`; give the room id."""
        room_id = await self.create_room(
            name=name,
            invite=[other],
            is_direct=True,
            preset=nio.RoomPreset.trusted_private_chat,
            initial_state=[nio.EnableEncryptionBuilder().as_dict()] if encrypted else (),
        )
        async with MatrixApi(self.server.url) as api:
            await api.add_direct(self.user_id, other, room_id, self.client.access_token)
        return room_id

    async def create_room(self, **arguments: Any) -> str:
        """Create a room; the arguments are those of nio's `room_create`. Give the room id."""
        return str(expect(await self.client.room_create(**arguments), nio.RoomCreateResponse).room_id)

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite somebody."""
        expect(await self.client.room_invite(room_id, user_id), nio.RoomInviteResponse)

    async def join(self, room_id: str) -> None:
        """Join a room."""
        expect(await self.client.join(room_id), nio.JoinResponse)

    async def leave(self, room_id: str) -> None:
        """Leave a room, or decline an invite."""
        expect(await self.client.room_leave(room_id), nio.RoomLeaveResponse)

    async def forget(self, room_id: str) -> None:
        """Forget a room that was left."""
        expect(await self.client.room_forget(room_id), nio.RoomForgetResponse)

    async def kick(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Remove somebody from a room."""
        expect(await self.client.room_kick(room_id, user_id, reason), nio.RoomKickResponse)

    async def ban(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        """Ban somebody from a room."""
        expect(await self.client.room_ban(room_id, user_id, reason), nio.RoomBanResponse)

    async def unban(self, room_id: str, user_id: str) -> None:
        """Lift a ban."""
        expect(await self.client.room_unban(room_id, user_id), nio.RoomUnbanResponse)

    async def upgrade(self, room_id: str, version: str = "12") -> str:
        """Upgrade a room; give the id of the one that follows it. The homeserver invites nobody to it."""
        where = path("rooms", room_id, "upgrade")
        async with MatrixApi(self.server.url) as api:
            answer = await api.call("POST", where, token=self.client.access_token, json={"new_version": version})
        return str(answer["replacement_room"])

    async def space_tree(self, room_id: str) -> SpaceTree:
        """Read a Space with everything below it."""
        async with MatrixApi(self.server.url) as api:
            return await read_space_tree(api, room_id, self.client.access_token)

    async def rename(self, room_id: str, name: str) -> None:
        """Give a room a name."""
        await self.set_state(room_id, "m.room.name", {"name": name})

    async def joined_rooms(self) -> set[str]:
        """Ask the server which rooms this account is in."""
        return set(expect(await self.client.joined_rooms(), nio.JoinedRoomsResponse).rooms)

    async def members(self, room_id: str) -> set[str]:
        """Ask the server who is in a room."""
        answer = expect(await self.client.joined_members(room_id), nio.JoinedMembersResponse)
        return {member.user_id for member in answer.members}

    # -- state and messages

    async def set_state(self, room_id: str, kind: str, content: Mapping[str, Any], state_key: str = "") -> str:
        """Write a state event; give its event id."""
        answer = await self.client.room_put_state(room_id, kind, dict(content), state_key)
        return str(expect(answer, nio.RoomPutStateResponse).event_id)

    async def state(self, room_id: str, kind: str, state_key: str = "") -> Raw | None:
        """Ask the server for a state event's content; None if there is none."""
        try:
            answer = expect(
                await self.client.room_get_state_event(room_id, kind, state_key), nio.RoomGetStateEventResponse
            )
        except MatrixRefused as refused:
            if refused.status == 404:
                return None
            raise
        return dict(answer.content)

    async def full_state(self, room_id: str) -> list[Raw]:
        """Ask the server for all state events of a room."""
        return list(expect(await self.client.room_get_state(room_id), nio.RoomGetStateResponse).events)

    async def send_text(self, room_id: str, body: str, *, msgtype: str = "m.text") -> str:
        """Send a message (encrypted where the room is, and this person has a store); give the event id."""
        return await self.send(room_id, "m.room.message", {"msgtype": msgtype, "body": body})

    async def send(self, room_id: str, kind: str, content: Mapping[str, Any]) -> str:
        """Send any event; give its event id."""
        answer = await self.client.room_send(room_id, kind, dict(content), ignore_unverified_devices=True)
        return str(expect(answer, nio.RoomSendResponse).event_id)

    async def reply(self, room_id: str, event_id: str, body: str) -> str:
        """Reply to a message; give the event id."""
        return await self.send(room_id, "m.room.message", relations.reply(event_id, body))

    async def edit(self, room_id: str, event_id: str, body: str) -> str:
        """Edit an own message; give the event id of the edit."""
        return await self.send(room_id, "m.room.message", relations.edit(event_id, body))

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """React to an event with an emoji; give the event id."""
        return await self.send(room_id, "m.reaction", relations.reaction(event_id, key))

    async def redact(self, room_id: str, event_id: str, reason: str | None = None) -> str:
        """Redact an event; give the event id of the redaction."""
        return str(expect(await self.client.room_redact(room_id, event_id, reason), nio.RoomRedactResponse).event_id)

    async def messages(self, room_id: str, limit: int = 100) -> list[Raw]:
        """Ask the server for the latest messages of a room, oldest first, as raw events."""
        answer = expect(
            await self.client.room_messages(
                room_id, limit=limit, direction=nio.MessageDirection.back, message_filter={"types": ["m.room.message"]}
            ),
            nio.RoomMessagesResponse,
        )
        return [event.source for event in reversed(answer.chunk)]
