"""Sharing the key of the next message, and believing only what the homeserver confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nio import JoinedMembersResponse, KeysClaimResponse, KeysQueryResponse, ShareGroupSessionResponse
from peewee import OperationalError

from greenroom_bot.matrix.client import Client, ok
from greenroom_bot.matrix.errors import MatrixError, StoreError
from greenroom_bot.matrix.ids import RoomId


async def share_keys(client: Client, room_id: RoomId) -> None:
    """Share the key of the next message with every device in an encrypted room; send no request if all have it.

    nio's `room_send` (0.26) ignores the failure of a step, marks the key as shared in any case, and waits for itself
    for ever after a failed key claim. So the steps are taken one by one before it. Raises MatrixError when one failed;
    then nothing may be sent yet, and all steps may be repeated.
    """
    room = client.rooms.get(room_id)
    if client.olm is None or room is None or not room.encrypted:
        return
    if not room.members_synced:
        await ok(client.joined_members(room_id), JoinedMembersResponse)
    if client.should_query_keys:
        await ok(client.keys_query(), KeysQueryResponse)
    if missing := client.get_missing_sessions(room_id):
        await ok(client.keys_claim(missing), KeysClaimResponse)
    if not client.olm.should_share_group_session(room_id):
        return
    try:
        await ok(client.share_group_session(room_id, ignore_unverified_devices=True), ShareGroupSessionResponse)
    finally:
        client.sharing_session.pop(room_id, None)
    if without := _devices_without_key(client, room_id):
        client.olm.outbound_group_sessions.pop(room_id, None)
        raise MatrixError("PUT", "/sendToDevice", status=None, cause=f"{without} devices did not get the key")


def _devices_without_key(client: Client, room_id: RoomId) -> int:
    """Count the devices in the room that could have received the key and did not."""
    session = client.olm.outbound_group_sessions[room_id]
    served = session.users_shared_with | session.users_ignored
    reachable = {
        (user_id, device.id)
        for user_id in client.rooms[room_id].users
        for device in client.device_store.active_user_devices(user_id)
        if device.id != client.device_id and client.olm.session_store.get(device.curve25519)
    }
    return len(reachable - served)


async def published_keys(client: Client, device_id: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return what the homeserver holds for our account: the device's keys and the master key, None for what it lacks.

    Raises MatrixError.
    """
    me = client.user_id
    answer = await client.request("POST", "keys", "query", body={"device_keys": {me: [device_id]}})
    return _find(answer, "device_keys", me, device_id), _find(answer, "master_keys", me)


def _find(answer: Mapping[str, Any], *path: str) -> dict[str, Any] | None:
    """Return the key object at this place of the answer to `/keys/query`, None if there is none."""
    found: Any = answer
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and isinstance(found.get("keys"), dict) else None


def unusable_keys(path: Path, error: Exception) -> StoreError:
    """Return the error for a key file that nio could not read or write: a full disk is not a damaged file."""
    if isinstance(error, OperationalError):
        return StoreError(
            f"the encryption keys in {path} cannot be read or written now ({error}). Look for free disk space and for "
            "the file's owner and permissions, and keep the file"
        )
    return StoreError(
        f"the encryption keys in {path} cannot be read ({error}); "
        "move the file away, and the next start makes a new device"
    )
