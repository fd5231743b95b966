// greenroom run --http -- node --test
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const { GREENROOM_URL, GREENROOM_KEY, GREENROOM_HOMESERVER, GREENROOM_ALICE_ACCESS_TOKEN } = process.env;
let bot, room;

async function call(method, url, token, body) {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${url}: ${response.status} ${response.ok ? "" : await response.text()}`);
  return response.json();
}

const greenroom = (method, path, body) => call(method, GREENROOM_URL + path, GREENROOM_KEY, body);
const alice = (method, path, body) =>
  call(method, `${GREENROOM_HOMESERVER}/_matrix/client/v3${path}`, GREENROOM_ALICE_ACCESS_TOKEN, body);

const ask = (word) =>
  alice("PUT", `/rooms/${room}/send/m.room.message/${word}`, { msgtype: "m.text", body: `!echo ${word}` });

async function answers(word) {
  const { chunk } = await alice("GET", `/rooms/${room}/messages?dir=b&limit=100`);
  return chunk.filter((event) => event.sender === bot.user_id && event.content.body === word).length;
}

async function until(what, check) {
  const deadline = Date.now() + 20_000;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, `waited 20 s for ${what}`);
    await sleep(50);
  }
}

// The answer to a later question shows that the bot has done with the earlier ones.
async function isAnsweredOnce(word) {
  await until(`an answer to ${word}`, () => answers(word));
  await ask(`after-${word}`);
  await until(`an answer to after-${word}`, () => answers(`after-${word}`));
  assert.equal(await answers(word), 1);
}

before(async () => {
  bot = await greenroom("POST", "/bots", { name: "echo", command: ["node", "bot.mjs"] });
  const chat = { invite: [bot.user_id], is_direct: true, preset: "trusted_private_chat" };
  room = (await alice("POST", "/createRoom", chat)).room_id;
});

test("it answers a question once", async () => {
  await ask("hello");
  await isAnsweredOnce("hello");
});

test("it answers a question that came after a crash", async () => {
  const killed = await greenroom("POST", "/bots/echo/kill");
  assert.equal(killed.running, false);
  await ask("crash");
  await greenroom("POST", "/bots/echo/start");
  await isAnsweredOnce("crash");
});

test("it sends nothing twice when the homeserver's reply is lost", async () => {
  const lost = { kind: "drop_response", path: "/send/", user: bot.user_id, times: 2 };
  const fault = await greenroom("POST", "/faults", lost);
  await ask("lost");
  await isAnsweredOnce("lost");
  assert.equal((await greenroom("DELETE", `/faults/${fault.id}`)).hits, 2);
});

test("it comes back after the homeserver was away", async () => {
  await greenroom("POST", "/homeserver/restart");
  await ask("away");
  await isAnsweredOnce("away");
});
