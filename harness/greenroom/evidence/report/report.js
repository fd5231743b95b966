"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const WIDTH = 92; // of a lane, in pixels
const lanes = data.lanes, place = new Map(lanes.map((lane, index) => [lane.key, (index + 0.5) * WIDTH]));
const kindOf = new Map(lanes.map((lane) => [lane.key, lane.kind]));
const SYMBOL = { message: "●", event: "○", request: "", log: "▪", process: "■", fault: "▲", test: "" };
const BAD = new Set(["killed", "refused", "no answer", "error", "unreadable"]);
const QUIET = new Set(["open", "slow", "client left"]); // no trouble
const isBad = (row) => BAD.has(row.mark) || row.kind === "test" && Boolean(row.mark);
const state = { hidden: new Set(), dull: false, trouble: false, words: [], chosen: -1 };
const rows = data.rows, nodes = [];

function element(tag, classes, text) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  if (text !== undefined) node.textContent = text; // never as HTML: it may be a bot's
  return node;
}
function put(parent, tag, left, text, width) {
  const node = element(tag, "", text);
  node.style.left = `${left}px`;
  if (width !== undefined) node.style.width = `${width}px`;
  parent.append(node);
  return node;
}
function isTrouble(row) { return Boolean(row.mark) && !QUIET.has(row.mark) || row.kind === "process" || row.kind === "fault"; }

function sketch(row) {
  const box = element("div", "sketch");
  for (const x of place.values()) put(box, "i", x);
  const from = place.get(row.start), to = place.get(row.end), via = place.get(row.via);
  if (from === undefined) return box;
  box.style.color = isBad(row) ? "" : `var(--${kindOf.get(row.start)})`;
  if (to === undefined || to === from) { put(box, "u", from, SYMBOL[row.kind] || "●"); return box; }
  const line = put(box, "b", Math.min(from, to), undefined, Math.abs(to - from));
  if (row.mark === "open" || row.mark === "no answer") line.className = "open";
  if (via !== undefined) put(box, "u", via, row.mark === "fault" ? "▲" : "◇");
  put(box, "u", to + (to > from ? -4 : 4), to > from ? "▶" : "◀");
  put(box, "u", from, row.mark === "refused" || row.mark === "no answer" ? "✕" : row.kind === "message" ? "●" : "•");
  return box;
}
function draw(row, index) {
  const bad = isBad(row);
  const node = element("div", `row ${row.kind}${bad ? " bad" : ""}${row.mark === "fault" ? " marked-fault" : ""}${row.dull ? " dull" : ""}`);
  node.tabIndex = -1;
  node.setAttribute("role", "listitem");
  node.dataset.index = index;
  node.append(element("span", "time", `${row.at.toFixed(3)}${row.guessed ? "~" : "\u2002"}`), sketch(row));
  const text = element("span", "text");
  if (row.mark) text.append(element("em", "", row.mark));
  text.append(row.text.split("\n", 1)[0]);
  text.title = row.text;
  node.append(text);
  return node;
}
function shown(row, index) {
  if (row.kind === "test") return true;
  if (row.dull && !state.dull && !isBad(row)) return false;
  if (state.trouble && !isTrouble(row)) return false;
  const ends = [row.start, row.end].filter(Boolean);
  if (row.via && row.mark === "fault") ends.push(row.via);
  if (ends.length && ends.every((lane) => state.hidden.has(lane))) return false;
  return state.words.every((word) => haystack(index).includes(word));
}
const haystacks = [];
function haystack(index) {
  const row = rows[index];
  return haystacks[index] ??= [row.text, row.mark || "", ...Object.values(row.detail || {})].join("\n").toLowerCase();
}
function filter() {
  let count = 0;
  rows.forEach((row, index) => {
    const visible = shown(row, index);
    nodes[index].hidden = !visible;
    nodes[index].style.display = visible ? "" : "none";
    count += visible;
  });
  by("count").textContent = `${count} of ${rows.length} rows`;
}
function choose(index, open) {
  if (index < 0 || index >= rows.length) return;
  nodes[state.chosen]?.classList.remove("chosen");
  state.chosen = index;
  nodes[index].classList.add("chosen");
  nodes[index].tabIndex = 0;
  nodes[index].focus({ preventScroll: true });
  nodes[index].scrollIntoView({ block: "nearest" });
  if (open || !by("detail").hidden) detail(index);
}
function detail(index) {
  const row = rows[index], panel = by("detail");
  const close = element("button", "", "Close (Esc)");
  close.type = "button";
  close.onclick = closeDetail;
  const where = [row.start, row.via, row.end].filter(Boolean).join(" → ");
  const when = new Date((data.began + row.at) * 1000).toISOString().replace("T", " ").replace("Z", " UTC");
  panel.replaceChildren(close, element("h2", "", row.text), element("p", "", [row.mark, row.kind, where, when].filter(Boolean).join(" · ")));
  for (const [name, value] of Object.entries(row.detail || {})) panel.append(element("h3", "", name), element("pre", "", value));
  panel.hidden = false;
  document.querySelector("main").className = "open";
}
function closeDetail() {
  by("detail").hidden = true;
  document.querySelector("main").className = "";
  nodes[state.chosen]?.focus();
}
function step(way, wanted) {
  let index = state.chosen;
  do index += way; while (index >= 0 && index < rows.length && (nodes[index].hidden || (wanted && !wanted(rows[index]))));
  choose(index, false);
}
function toFailure() {
  const index = rows.findIndex((row) => row.kind === "test" && row.mark);
  const last = index < 0 ? rows.length - 1 : index;
  choose(last, false);
  nodes[last].scrollIntoView({ block: "center" });
}
function listen() {
  by("rows").addEventListener("click", (event) => {
    const node = event.target.closest(".row");
    if (node) choose(Number(node.dataset.index), true);
  });
  by("search").addEventListener("input", (event) => { state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean); filter(); });
  for (const name of ["dull", "trouble"]) by(name).addEventListener("change", (event) => { state[name] = event.target.checked; filter(); });
  by("failure").onclick = toFailure;
  by("next").onclick = () => step(1, isTrouble);
  if (by("copy")) by("copy").onclick = copy;
  document.addEventListener("keydown", key);
}
function copy() {
  const range = document.createRange();
  range.selectNodeContents(document.querySelector(".again code"));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  by("copy").textContent = document.execCommand("copy") ? "Copied" : "Selected";
}
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { if (!by("detail").hidden) closeDetail(); else document.activeElement.blur(); return; }
  if (event.target.matches("input[type=search]")) { if (event.key === "Enter") { event.target.blur(); step(1); } return; }
  const act = {
    ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1), n: () => step(1, isTrouble), p: () => step(-1, isTrouble),
    f: toFailure, "/": () => by("search").focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
  else if (event.key === "Enter" && event.target.matches(".row")) { event.preventDefault(); choose(Number(event.target.dataset.index), true); }
}
function drawHead() {
  document.documentElement.style.setProperty("--lanes", `${lanes.length * WIDTH}px`);
  const names = element("div");
  names.style.cssText = `display:grid;grid-template-columns:repeat(${lanes.length}, ${WIDTH}px)`;
  for (const lane of lanes) {
    const name = element("span", "", lane.title);
    name.style.color = `var(--${lane.kind})`;
    names.append(name);
    const label = element("label"), box = element("input");
    box.type = "checkbox";
    box.checked = true;
    box.onchange = () => { state.hidden[box.checked ? "delete" : "add"](lane.key); filter(); };
    label.append(box, ` ${lane.title}`);
    by("lanes").append(label);
  }
  by("head").append(element("span", "", "seconds"), names, element("span", "", "what happened"));
}
function start() {
  drawHead();
  const all = document.createDocumentFragment();
  rows.forEach((row, index) => { nodes.push(draw(row, index)); all.append(nodes[index]); });
  by("rows").append(all);
  const dull = rows.filter((row) => row.dull).length, failed = rows.some((row) => row.kind === "test" && row.mark);
  by("dull-count").textContent = `polls and upkeep (${dull})`;
  by("failure").textContent = failed ? "Moment of failure" : "The end";
  by("next").disabled = !rows.some(isTrouble);
  const nav = document.querySelector("nav");
  new ResizeObserver(() => document.documentElement.style.setProperty("--nav", `${nav.offsetHeight}px`)).observe(nav);
  listen();
  filter();
}
start();
