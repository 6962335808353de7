"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const CLASS = { ".": "passed", F: "failed", E: "error", k: "xfailed", X: "xpassed", "-": "skipped", " ": "none" };
const WORST = "FEXk.-";
const AT_ONCE = 300;
const columns = data.runs.length;
const grid = document.getElementById("grid");
const input = document.getElementById("filter");
const chosen = new Set();

function make(tag, classes, text) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Cases as {file, test, name, id, letters, says}; folders and files as {name, inner, counts}.
const cases = [];
for (const [file, tests] of Object.entries(data.files))
  for (const [test, those] of Object.entries(tests))
    for (const [parameters, entry] of Object.entries(those)) {
      const [letters, why = {}, at = {}] = typeof entry === "string" ? [entry] : entry;
      const name = parameters ? `${test}[${parameters}]` : test;
      const id = `${file}::${name}`;
      const says = Object.values(why).map((number) => data.whys[number]).join(" ");
      cases.push({ file, name, id, letters, why, at, text: `${id} ${says}`.toLowerCase() });
    }

function tree(those) {
  const top = new Map();
  for (const one of those) {
    const parts = one.file.split("/");
    const folder = parts.length > 2 ? parts.slice(0, -1).join("/") : parts[0];
    if (!top.has(folder)) top.set(folder, new Map());
    const files = top.get(folder);
    if (!files.has(one.file)) files.set(one.file, []);
    files.get(one.file).push(one);
  }
  return top;
}

function cell(letters) {
  const count = {};
  for (const letter of letters) count[letter] = (count[letter] || 0) + 1;
  const worst = [...WORST].find((letter) => count[letter]) || " ";
  const made = make("span", `cell ${CLASS[worst]}`);
  const shown = [..."FEXk-"].filter((letter) => count[letter] && (letter !== "-" || worst === "-"));
  made.textContent = shown.map((letter) => count[letter] + letter).slice(0, 2).join(" ") || count["."] || "";
  made.title = [...WORST].filter((letter) => count[letter]).map((letter) => `${count[letter]} ${CLASS[letter]}`).join(", ");
  return made;
}

function row(name, depth) {
  const made = make("div", "row");
  const first = make("span", "", name);
  first.style.setProperty("--depth", depth);
  made.append(first);
  return made;
}

function group(name, depth, those, fill, open) {
  const made = make("details");
  const summary = make("summary");
  const line = row(name, depth);
  for (let run = 0; run < columns; run++) line.append(cell(those.map((one) => one.letters[run])));
  summary.append(line);
  made.append(summary);
  made.addEventListener("toggle", () => { if (made.open && made.children.length === 1) fill(made); });
  made.open = open;
  return made;
}

function caseRow(one) {
  const line = row(one.name, 2);
  [...one.letters].forEach((letter, run) => {
    const made = make(letter === " " ? "span" : "button", `cell ${CLASS[letter]}`, letter);
    if (letter !== " ") {
      made.type = "button";
      made.title = `${data.runs[run].name}: ${CLASS[letter]}`;
      made.addEventListener("click", () => panel(line, one, run));
    }
    line.append(made);
  });
  return line;
}

function command(words) {
  const made = make("div", "command");
  made.append(make("pre", "", words), make("button", "copy", "copy"));
  return made;
}

function quoted(word) { return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`; }

function panel(line, one, run) {
  const key = `${run} ${one.id}`;
  const next = line.nextElementSibling;
  if (next && next.classList.contains("panel")) {
    next.remove();
    if (next.dataset.key === key) return;
  }
  const made = make("div", "panel");
  made.dataset.key = key;
  const why = one.why[run];
  const place = one.at[run];
  const said = make("p");
  said.append(make("b", CLASS[one.letters[run]], CLASS[one.letters[run]]), ` on ${data.runs[run].name}${why === undefined ? "" : `: ${data.whys[why]}`}`);
  made.append(make("code", "", one.id), said);
  if (place !== undefined) {
    const link = make("a", "", "evidence and console");
    link.href = `#f${place}`;
    made.append(link);
  }
  for (const verb of "FEk".includes(one.letters[run]) ? ["run", "reproduce"] : ["run"])
    made.append(command(["./rig", verb, ...data.runs[run][verb].map(quoted), quoted(one.id)].join(" ")));
  line.after(made);
}

function draw() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const letters = [...chosen].filter((one) => one !== "differs");
  const found = cases.filter((one) =>
    words.every((word) => one.text.includes(word)) &&
    (!letters.length || letters.some((letter) => one.letters.includes(letter))) &&
    (!chosen.has("differs") || new Set(one.letters.replaceAll(" ", "").replaceAll("-", "")).size > 1));
  const all = found.length === cases.length;
  const open = !all && found.length <= AT_ONCE;
  document.getElementById("found").textContent = all ? `${cases.length} cases` : `${found.length} of ${cases.length} cases`;
  const body = make("div");
  const head = make("div", "row head");
  head.append(make("span"));
  for (const run of data.runs) head.append(make("span", "cell", run.name));
  if (columns > 1) body.append(head);
  for (const [folder, files] of tree(found)) {
    const those = [...files.values()].flat();
    body.append(group(folder, 0, those, (place) => {
      for (const [file, inner] of files)
        place.append(group(file.split("/").pop(), 1, inner, (deep) => deep.append(...inner.map(caseRow)), open));
    }, open));
  }
  body.style.setProperty("--columns", columns);
  body.style.setProperty("--cell", columns > 1 ? "3.6rem" : "5rem");
  body.style.setProperty("--name", "min(26rem, 46vw)");
  grid.replaceChildren(body);
}

let waiting;
input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(draw, 80); });
for (const button of document.querySelectorAll(".tools button"))
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    if (on) chosen.add(button.dataset.letter); else chosen.delete(button.dataset.letter);
    draw();
  });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== input) { event.preventDefault(); input.focus(); }
  if (event.key === "Escape" && document.activeElement === input) { input.value = ""; input.blur(); draw(); }
});
document.addEventListener("click", (event) => {
  if (!event.target.classList.contains("copy")) return;
  const pre = event.target.previousElementSibling;
  const range = document.createRange();
  range.selectNodeContents(pre);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  // A page from file:// may have no clipboard; the words are selected then.
  if (navigator.clipboard) navigator.clipboard.writeText(pre.textContent).then(() => { event.target.textContent = "copied"; }, () => {});
});
function toFailure() {
  const place = /^#f\d+$/.test(location.hash) && document.querySelector(location.hash);
  if (!place) return;
  for (let one = place; one; one = one.parentElement.closest("details")) one.open = true;
  place.scrollIntoView();
}
addEventListener("hashchange", toFailure);
draw();
toFailure();
