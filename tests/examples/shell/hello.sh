# greenroom run -- sh hello.sh
set -eu
api=$MATRIX_HOMESERVER/_matrix/client/v3
as_alice() { curl -sf -H "Authorization: Bearer $GREENROOM_ALICE_ACCESS_TOKEN" "$@"; }

room=$(as_alice -d '{"name": "Greetings"}' "$api/createRoom" | sed 's/.*"room_id":"\([^"]*\)".*/\1/')
as_alice -X PUT -d '{"msgtype": "m.text", "body": "hello"}' "$api/rooms/$room/send/m.room.message/1" >/dev/null
as_alice "$api/rooms/$room/messages?dir=b&limit=1" | grep -q '"body":"hello"'
echo "alice said hello in $room"
