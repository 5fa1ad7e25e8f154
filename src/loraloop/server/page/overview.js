// What the skills are and how good, and how busy the server is.

import { json } from "./api.js";
import { $, long, make, opening, percent, skillClass, tableOf } from "./elements.js";

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const rounded = (score) => (typeof score === "number" ? String(Math.round(1000 * score) / 1000) : "");
const FEW = 6; // scores that are shown at once

function scoresOf(scores) {
  const rows = Object.entries(scores || {}).filter(([, score]) => typeof score?.skill === "number");
  if (!rows.length) return [];
  const table = tableOf("", ["measured", "base", "skill", "cases"]);
  for (const [name, { base, skill, n }] of rows) {
    const cells = [name.replaceAll("_", " "), rounded(base), rounded(skill), String(n ?? "")].map((text) => make("td", text));
    if (skill > base) cells[2].className = "better";
    table.append(make("tr", "", "", ...cells));
  }
  const box = opening(`${rows.length} scores`, table);
  box.open = rows.length <= FEW;
  return [box];
}

export async function listSkills() {
  const { base, skills } = await json("/v1/skills");
  const cards = skills.map(({ scores, tier, slot, ...card }) => {
    const where = slot === null ? tier : `slot ${slot}`;
    const facts = [card.contract, `${card.method}, rank ${card.rank}`, where].map((fact) => make("li", fact));
    const head = make("h3", card.name, "name");
    const rest = opening("card", long(JSON.stringify(card, null, 1), `Card of ${card.name}`));
    return make("article", "", skillClass(card.name), head, make("ul", "", "chips", ...facts), make("p", card.description), ...scoresOf(scores), rest);
  });
  $("skill-list").replaceChildren(make("p", `Skills on the base ${base}`, "facts"), make("div", "", "cards", ...cards));
}

let before = { forwards: 0, rows: 0 }; // of the scheduler, when the load was last asked for

function bar(name, value, most, text) {
  const meter = make("meter");
  meter.max = most;
  meter.value = value;
  meter.ariaLabel = name;
  return [make("dt", name), make("dd", "", "", meter, make("span", text))];
}

export async function listLoad() {
  const load = await json("/v1/load");
  const { scheduler, tokens, memory } = load;
  const forwards = scheduler.forwards - before.forwards;
  const rows = forwards ? (scheduler.rows - before.rows) / forwards : 0;
  before = scheduler;
  const read = tokens.read + tokens.cached;
  const caches = { "past transcripts": memory.trunks, "shared beginnings": memory.prefixes, "full contexts": memory.contexts };
  const kept = Object.entries(caches).flatMap(([name, { positions, limit, bytes }]) =>
    bar(name, positions, limit, `${positions} of ${limit} positions, ${megabytes(bytes)}`));
  $("load-list").replaceChildren(
    ...bar("running", load.running, load.concurrency, `${load.running} of ${load.concurrency} requests`),
    ...bar("waiting", load.waiting, load.queue, `${load.waiting} of ${load.queue} requests`),
    ...bar("batch", rows, load.concurrency, `${rows.toFixed(1)} rows in a forward, ${forwards} forwards since the last look`),
    ...bar("prefix hits", tokens.cached, read || 1, `${percent(read ? tokens.cached / read : 0)} of ${read} tokens were reused`),
    ...kept,
    ...bar("skills in slots", memory.bank.device_used, memory.bank.device, `${megabytes(memory.bank.device_used)} of ${megabytes(memory.bank.device)}`),
    ...bar("grammars", memory.grammars, memory.grammars_limit, `${memory.grammars} of ${memory.grammars_limit} compiled`),
    make("dt", "slots"),
    make("dd", Object.entries(load.skills).map(([name, slot]) => `${name} in ${slot}`).join(", ") || "none"),
  );
  const table = tableOf(`${load.runs.length} agents at work`, ["agent", "skill", "steps", "seconds", "what was asked"]);
  for (const run of load.runs) {
    const skill = run.skills.at(-1) || "none";
    const name = make("td", "", "", make("span", skill, `name ${skillClass(skill)}`));
    const cells = [run.skills.length, run.seconds.toFixed(1), run.prompt || "somebody else's"];
    table.append(make("tr", "", "", make("td", run.agent), name, ...cells.map((cell) => make("td", String(cell)))));
  }
  $("load-agents").replaceChildren(table);
}
