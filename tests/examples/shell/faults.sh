# greenroom run --http -- sh faults.sh
set -eu
greenroom() { curl -sf -H "Authorization: Bearer $GREENROOM_KEY" "$@"; }
status() { curl -s -o /dev/null -w '%{http_code}' "$MATRIX_HOMESERVER/_matrix/client/versions"; }

greenroom -d '{"kind": "rate_limited", "path": "/versions", "times": 1}' "$GREENROOM_URL/faults"
test "$(status)" = 429
test "$(status)" = 200
greenroom -X POST "$GREENROOM_URL/homeserver/kill"
test "$(status)" = 000
greenroom -X POST "$GREENROOM_URL/homeserver/start"
test "$(status)" = 200
greenroom "$GREENROOM_URL/transcript?path=/versions" | grep -q '"rule":"429 on /versions"'
