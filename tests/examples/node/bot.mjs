// An echo bot for Node 18 or newer, without packages: it answers `!echo TEXT` with TEXT.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const { MATRIX_HOMESERVER, MATRIX_USER_ID, MATRIX_PASSWORD, MATRIX_DB_PATH } = process.env;
const FILTER = encodeURIComponent('{"room": {"timeline": {"limit": 100}}}');
const state = existsSync(MATRIX_DB_PATH) ? JSON.parse(readFileSync(MATRIX_DB_PATH, "utf8")) : {};

class Refused extends Error {}

function save() {
  writeFileSync(`${MATRIX_DB_PATH}.new`, JSON.stringify(state));
  renameSync(`${MATRIX_DB_PATH}.new`, MATRIX_DB_PATH);
}

// Repeat a request until it is answered. A send may be repeated: its transaction id stays the same.
async function call(method, path, body) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  for (let wait = 100; ; wait = Math.min(2 * wait, 5000)) {
    try {
      const url = `${MATRIX_HOMESERVER}/_matrix/client/v3${path}`;
      const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
      const answer = await response.json();
      if (response.ok) return answer;
      if (response.status < 500 && response.status !== 429) throw new Refused(`${path}: ${answer.errcode}`);
      wait = answer.retry_after_ms ?? wait;
    } catch (error) {
      if (error instanceof Refused) throw error;
      console.log(`${method} ${path.split("?")[0]}: ${error.message}; trying again`);
    }
    await sleep(wait);
  }
}

// A room may refuse the bot at any time: it was kicked, or the invite is gone.
async function tryTo(method, path, body) {
  await call(method, path, body).catch((error) => {
    if (error.message.endsWith("M_UNKNOWN_TOKEN")) throw error;
    console.log(error.message);
  });
}

async function answer(room, event) {
  const { msgtype, body } = event.content;
  if (event.sender === MATRIX_USER_ID || msgtype !== "m.text" || !body?.startsWith("!echo ")) return;
  const path = `/rooms/${encodeURIComponent(room)}/send/m.room.message/${encodeURIComponent(event.event_id)}`;
  await tryTo("PUT", path, { msgtype: "m.notice", body: body.slice("!echo ".length) });
}

if (!state.token) {
  const identifier = { type: "m.id.user", user: MATRIX_USER_ID };
  const login = await call("POST", "/login", { type: "m.login.password", identifier, password: MATRIX_PASSWORD });
  state.token = login.access_token;
  save();
}
for (;;) {
  const since = state.since ? `&since=${state.since}` : "";
  const sync = await call("GET", `/sync?timeout=30000&filter=${FILTER}${since}`);
  for (const room of Object.keys(sync.rooms?.invite ?? {})) {
    await tryTo("POST", `/join/${encodeURIComponent(room)}`, {});
  }
  for (const [room, { timeline }] of Object.entries(sync.rooms?.join ?? {})) {
    for (const event of since ? timeline.events : []) await answer(room, event);
  }
  state.since = sync.next_batch;
  save();
}
