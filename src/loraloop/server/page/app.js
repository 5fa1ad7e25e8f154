"use strict";
// Everything that comes from a model, a tool or a document is put on the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const SKILLS = ["tools", "code", "retrieval", "safety", "none"];
let key = sessionStorage.getItem("loraloop-key") || "";
let messages = [];
const schemas = new Map(); // of the arguments of each agent's tools
let current = null; // the run that is being read: {agent, id, abort}

function make(tag, text = "", className = "", ...children) {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

async function api(path, body, signal) {
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (answer.status === 401) {
    await askForKey();
    return api(path, body, signal);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ? told.error.message : `${answer.status} ${answer.statusText}`);
  }
  return answer;
}

let asking = null; // the one question for a key, however many requests wait for it

function askForKey() {
  asking ||= new Promise((done, failed) => {
    const dialog = $("key-dialog");
    $("key-problem").hidden = !key;
    $("key").value = dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue !== "use") return failed(new Error("This server asks for a key: reload the page to give one."));
      key = $("key").value;
      sessionStorage.setItem("loraloop-key", key);
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

// ---- a run ---------------------------------------------------------------------------------------------------------

class RunView {
  constructor(parent, agent) {
    this.parent = parent;
    this.agent = agent;
    this.steps = new Map();
    this.calls = new Map();
    this.screen = null;
    this.waiting = [];
    this.form = null;
  }

  show(event) {
    const handler = this[event.type];
    if (handler) handler.call(this, event);
  }

  RunStarted(event) {
    if (event.resumed && this.form) this.form.replaceWith(make("p", "its calls were decided about", "facts"));
  }

  step(index) {
    if (!this.steps.has(index)) {
      const head = make("summary", "", "", make("span", `step ${index + 1}`, "name"));
      const text = make("pre", "", "written");
      const spoken = make("span", "", "unseen");
      const legend = make("p", "", "facts", make("span", "forced by the grammar", "forced"), " · chosen by the model", spoken);
      text.hidden = legend.hidden = true;
      const card = make("details", "", "step", head, text, legend);
      card.open = true;
      this.parent.append(card);
      this.steps.set(index, { card, head, text, legend, spoken });
    }
    return this.steps.get(index);
  }

  Screened(event) {
    this.screen = event;
  }

  Routed(event) {
    const { card, head, text } = this.step(event.step);
    card.classList.add(`skill-${SKILLS.includes(event.skill) ? event.skill : "other"}`);
    head.firstChild.textContent = event.skill;
    head.append(make("span", percent(event.probability)), make("span", `by the ${event.decided_by}`, "facts"));
    if (event.abstained) head.append(make("span", "abstained", "facts"));
    const rows = make("div", "", "routes");
    rows.role = "group";
    rows.setAttribute("aria-label", "How likely each skill was");
    for (const [name, share] of [[event.skill, event.probability], ...event.runners_up]) {
      const bar = make("meter");
      bar.max = 1;
      bar.value = share;
      bar.setAttribute("aria-label", `${name} ${percent(share)}`);
      rows.append(make("span", name), bar, make("span", percent(share)));
    }
    card.insertBefore(rows, text);
    if (event.masked.length) card.insertBefore(make("p", `masked: ${event.masked.join(", ")}`, "facts"), text);
    if (this.screen) {
      const { probability, threshold, positive } = this.screen;
      const said = `screen ${percent(probability)}, asks from ${percent(threshold)}`;
      card.insertBefore(make("p", said, positive ? "refused facts" : "facts"), text);
      this.screen = null;
    }
  }

  TokenGenerated(event) {
    this.write(event.step, event.text, event.forced);
  }

  // Adds text to a step. Stretches that a grammar forced look different, and a sentence says which for screen readers.
  write(step, written, forced = []) {
    const { text, legend, spoken } = this.step(step);
    const letters = Array.from(written); // a stretch counts characters, and some characters are two units of a string
    let at = 0;
    for (const [start, end] of forced) {
      text.append(letters.slice(at, start).join(""), make("span", letters.slice(start, end).join(""), "forced"));
      at = end;
    }
    text.append(letters.slice(at).join(""));
    text.normalize();
    text.hidden = false;
    legend.hidden &&= !forced.length;
    if (legend.hidden) return;
    const isForced = (node) => node.nodeType === Node.ELEMENT_NODE;
    const [some, others] = [true, false].map((kind) => [...text.childNodes].filter((node) => isForced(node) === kind).map((node) => node.textContent));
    const shorter = some.join("").length < others.join("").length;
    spoken.textContent = shorter ? `. Forced: ${some.join(", ")}` : `. Chosen: ${others.join(", ")}`;
  }

  ToolCallStarted(event) {
    this.call(event.step, event.id, event.name, event.arguments);
  }

  call(step, id, name, given) {
    const result = make("pre", "…");
    const left = make("div", "", "", make("strong", name), make("pre", shown(given)));
    const schema = schemas.get(`${this.agent}/${name}`);
    if (schema) left.append(make("details", "", "facts", make("summary", "schema"), make("pre", shown(schema))));
    this.step(step).card.append(make("div", "", "call", left, result));
    this.calls.set(id, result);
    return result;
  }

  ToolCallFinished(event) {
    const { id, name, result, error, ms } = event.call;
    const place = this.calls.get(id) || this.call(event.step, id, name, event.call.arguments);
    place.textContent = error === null ? shown(result) : `error: ${error}`;
    if (error !== null) place.classList.add("error");
    place.parentElement.append(make("p", `${ms.toFixed(0)} ms`, "facts"));
  }

  ApprovalRequested(event) {
    this.waiting = event.calls;
  }

  Refused(event) {
    this.parent.append(make("p", `refused: ${event.category}`, "refused"));
  }

  StepFinished(event) {
    const { step } = event;
    const { card, text } = this.step(step.index);
    if (step.text && text.hidden) this.write(step.index, step.text, step.tokens.spans);
    const phases = Object.entries(step.ms).map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`);
    const { generated, forced, prefilled, reused } = step.tokens;
    const counted = `${generated} tokens, ${forced} of them forced; ${prefilled} read, ${reused} known`;
    card.append(make("p", `${step.outcome}${step.kept ? "" : ", dropped"} · ${counted} · ${phases.join(", ")}`, "facts"));
    if (step.error) card.append(make("p", step.error, "error"));
  }

  RunFinished(event) {
    const { result } = event;
    if (result.stop_reason === "approval") {
      this.parent.append((this.form = this.approval(event.run_id, this.waiting)));
      return;
    }
    this.parent.append(make("div", result.output || `(${result.stop_reason})`, `answer ${result.stop_reason === "refused" ? "refused" : ""}`));
    for (const passage of result.cited || []) {
      const opened = make("details", "", "facts", make("summary", `cites ${passage.title || passage.id}`), make("p", passage.text));
      this.parent.append(opened);
    }
    const skills = result.steps.map((step) => step.skill).join(" → ");
    this.parent.append(make("p", `${skills} · ${result.stop_reason} · ${result.ms.toFixed(0)} ms`, "facts"));
  }

  RunFailed(event) {
    this.parent.append(make("p", event.error.message, "error"));
  }

  approval(run, calls) {
    const box = make("div", "", "approval");
    box.role = "group";
    box.setAttribute("aria-label", "Calls that wait for approval");
    const decisions = {};
    const open = calls.filter((call) => call.waits);
    for (const call of open) {
      const given = make("textarea", JSON.stringify(call.arguments));
      given.rows = 2;
      given.setAttribute("aria-label", `Arguments of ${call.name}`);
      const buttons = make("div", "", "buttons");
      const said = make("p", "", "error");
      const decide = (approve) => {
        decisions[call.id] = { approve };
        if (approve && given.value !== given.defaultValue) {
          try {
            decisions[call.id].arguments = JSON.parse(given.value);
          } catch (error) {
            said.textContent = `These arguments are no JSON: ${error.message}`;
            given.focus();
            return;
          }
        }
        given.disabled = true;
        said.textContent = "";
        buttons.replaceChildren(make("span", approve ? "approved" : "denied", "facts"));
        if (!box.querySelector("button")) this.decided(run, calls, decisions);
        (box.querySelector("button") || $("stop")).focus();
      };
      for (const [text, approve] of [["Approve", true], ["Deny", false]]) {
        const button = make("button", text);
        button.type = "button";
        button.addEventListener("click", () => decide(approve));
        buttons.append(button);
      }
      box.append(make("strong", `${call.name} waits for your approval`), given, said, buttons);
    }
    return box;
  }

  // Goes on with what was decided; where the server does not take it, it is asked for again.
  async decided(run, calls, decisions) {
    const path = `/v1/agents/${encodeURIComponent(this.agent)}/runs/${encodeURIComponent(run)}/approve`;
    if (await read(this, path, { decisions })) return;
    const again = this.approval(run, calls);
    this.form.replaceWith(again);
    this.form = again;
  }
}

// Shows a run as it happens; whether it began.
async function read(view, path, body) {
  while (current) await current.over;
  const abort = new AbortController();
  let ended;
  const mine = (current = { agent: view.agent, id: null, abort, over: new Promise((done) => (ended = done)) });
  $("stop").disabled = false;
  $("log").ariaBusy = "true"; // a screen reader reads the run when it is over, not each token
  try {
    const answer = await api(path, body, abort.signal);
    for await (const event of eventsOf(answer)) {
      mine.id = event.run_id;
      const page = document.documentElement;
      const atEnd = page.scrollHeight - window.innerHeight - window.scrollY < 100;
      view.show(event);
      if (event.type === "RunFinished" && event.result.stop_reason !== "approval" && view.parent.parentElement === $("log")) {
        messages = event.result.messages.filter((message) => message.role !== "system").map(({ role, content }) => ({ role, content }));
      }
      if (atEnd) view.parent.scrollIntoView({ block: "end" });
    }
  } catch (error) {
    view.parent.append(make("p", error.name === "AbortError" ? "stopped" : error.message, "error"));
  } finally {
    current = null;
    $("stop").disabled = true;
    $("log").ariaBusy = "false";
    ended();
  }
  return mine.id !== null;
}

async function ask(event) {
  event.preventDefault();
  const input = $("input").value.trim();
  if (!input || current || !$("agent").value) return;
  $("input").value = "";
  const turn = make("div", "", "", make("div", input, "said"));
  $("log").append(turn);
  const agent = $("agent").value;
  const body = { input, messages, ...($("skill").value && { skill: $("skill").value }) };
  await read(new RunView(turn, agent), `/v1/agents/${encodeURIComponent(agent)}/runs`, body);
  $("input").focus();
}

function stop() {
  if (!current) return;
  const { agent, id, abort } = current;
  if (id) api(`/v1/agents/${encodeURIComponent(agent)}/runs/${encodeURIComponent(id)}/cancel`, {}).catch(() => abort.abort());
  else abort.abort();
}

// ---- runs ----------------------------------------------------------------------------------------------------------

let runs = [];
let marked = []; // ids of the runs that are compared

async function listRuns() {
  ({ runs } = await (await api("/v1/runs")).json());
  showRuns();
}

function showRuns() {
  const wanted = $("search").value.toLowerCase();
  const items = runs.filter((run) => `${run.prompt} ${run.skills.join(" ")} ${run.state}`.toLowerCase().includes(wanted)).map((run) => {
    const mark = make("input");
    mark.type = "checkbox";
    mark.value = run.id;
    mark.checked = marked.includes(run.id);
    mark.setAttribute("aria-label", `Compare ${run.prompt}`);
    mark.addEventListener("change", () => {
      marked = mark.checked ? [...marked.slice(-1), run.id] : marked.filter((id) => id !== run.id);
      for (const box of document.querySelectorAll("#run-list input")) box.checked = marked.includes(box.value);
      openRuns(marked);
    });
    const open = make("button", run.prompt, "prompt");
    open.addEventListener("click", () => openRuns([run.id]));
    const took = run.ms === null ? run.state : `${run.stop_reason}, ${run.ms.toFixed(0)} ms`;
    return make("li", "", "", mark, open, make("span", run.skills.join(" → "), "facts"), make("span", took, "facts"));
  });
  $("run-list").replaceChildren(...(items.length ? items : [make("li", runs.length ? "no run is like it" : "no runs yet", "facts")]));
}

async function openRuns(ids) {
  try {
    const found = await Promise.all(ids.map(async (id) => (await api(`/v1/runs/${encodeURIComponent(id)}`)).json()));
    $("run-view").replaceChildren(...found.map((run) => column(run.prompt, run.agent, run.events)));
  } catch (error) {
    $("run-view").replaceChildren(make("p", error.message, "error"));
  }
}

function column(prompt, agent, events) {
  const place = make("div", "", "", make("div", prompt, "said"));
  const view = new RunView(place, agent);
  events.forEach((event) => view.show(event));
  return place;
}

async function openFile(event) {
  const [file] = event.target.files;
  if (!file) return;
  try {
    const trace = JSON.parse(await file.text());
    const place = column(trace.prompt || file.name, "", []);
    const view = new RunView(place, "");
    for (const step of trace.steps) {
      const screened = trace.events.find((each) => each.type === "Screened" && each.step === step.index);
      if (screened) view.Screened(screened.data);
      view.Routed({ ...step, ...step.route, step: step.index });
      for (const call of step.calls) view.ToolCallFinished({ step: step.index, call });
      view.StepFinished({ step });
    }
    if (trace.end) place.append(make("div", trace.end.output, "answer"));
    $("run-view").replaceChildren(place);
  } catch (error) {
    $("run-view").replaceChildren(make("p", `${file.name} is no trace: ${error.message}`, "error"));
  }
}

// ---- skills and load -----------------------------------------------------------------------------------------------

function tableOf(caption, names) {
  const head = make("tr");
  for (const name of names) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  return make("table", "", "", make("caption", caption), head);
}

async function listSkills() {
  const { base, skills } = await (await api("/v1/skills")).json();
  const table = tableOf(`Skills on the base ${base}`, ["skill", "writes", "method", "rank", "where", "what it is for", "scores"]);
  for (const card of skills) {
    const row = make("tr");
    const name = make("td", card.name, `skill-${SKILLS.includes(card.name) ? card.name : "other"}`);
    const scores = make("details", "", "", make("summary", "show"), make("pre", shown(card.scores || {})));
    const where = card.slot === null ? card.tier : `slot ${card.slot}`;
    row.append(name, make("td", card.contract), make("td", card.method), make("td", String(card.rank)));
    row.append(make("td", where), make("td", card.description), make("td", "", "", scores));
    table.append(row);
  }
  $("skill-list").replaceChildren(table);
}

let before = { forwards: 0, rows: 0 }; // of the scheduler, when the load was last asked for

function bar(name, value, most, text) {
  const meter = make("meter");
  meter.max = most;
  meter.value = value;
  meter.setAttribute("aria-label", name);
  return [make("dt", name), make("dd", "", "", meter, make("span", text))];
}

async function listLoad() {
  const load = await (await api("/v1/load")).json();
  const { scheduler, tokens, memory } = load;
  const forwards = scheduler.forwards - before.forwards;
  const rows = forwards ? (scheduler.rows - before.rows) / forwards : 0;
  before = scheduler;
  const read = tokens.read + tokens.cached;
  const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  const caches = { "past transcripts": memory.trunks, "shared beginnings": memory.prefixes, "full contexts": memory.contexts };
  const kept = Object.entries(caches).flatMap(([name, { positions, limit, bytes }]) =>
    bar(name, positions, limit, `${positions} of ${limit} positions, ${megabytes(bytes)}`));
  $("load-list").replaceChildren(
    ...bar("running", load.running, load.concurrency, `${load.running} of ${load.concurrency} requests`),
    ...bar("waiting", load.waiting, load.queue, `${load.waiting} of ${load.queue} requests`),
    ...bar("batch", rows, load.concurrency, `${rows.toFixed(1)} rows in a forward, ${forwards} forwards since the last look`),
    ...bar("prefix hits", tokens.cached, read || 1, `${percent(read ? tokens.cached / read : 0)} of ${read} tokens were known`),
    ...kept,
    make("dt", "skills in slots"),
    make("dd", Object.entries(load.skills).map(([name, slot]) => `${name} in ${slot}`).join(", ") || "none"),
  );
  const table = tableOf(`${load.runs.length} agents at work`, ["agent", "skill", "steps", "seconds", "what was asked"]);
  for (const run of load.runs) {
    const skill = run.skills.at(-1) || "none";
    const name = make("td", "", "", make("span", skill, `name skill-${SKILLS.includes(skill) ? skill : "other"}`));
    const cells = [run.skills.length, run.seconds.toFixed(1), run.prompt || "somebody else's"];
    table.append(make("tr", "", "", make("td", run.agent), name, ...cells.map((cell) => make("td", String(cell)))));
  }
  $("load-agents").replaceChildren(table);
}

// ---- views ---------------------------------------------------------------------------------------------------------

const VIEWS = { chat: () => {}, runs: listRuns, skills: listSkills, load: listLoad };
let timer = 0;

function view() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "chat";
  for (const each of Object.keys(VIEWS)) $(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  clearInterval(timer);
  const show = async () => {
    try {
      await VIEWS[name]();
      $("problem").hidden = true;
    } catch (error) {
      $("problem").textContent = error.message;
      $("problem").hidden = false;
    }
  };
  show();
  if (name === "load") timer = setInterval(show, 2000);
}

async function begin() {
  $("ask").addEventListener("submit", ask);
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", () => {
    stop();
    messages = [];
    $("log").replaceChildren();
  });
  $("search").addEventListener("input", showRuns);
  $("file").addEventListener("change", openFile);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === $("input")) $("ask").requestSubmit();
  });
  window.addEventListener("hashchange", view);
  view();
  const { agents } = await (await api("/v1/agents")).json();
  $("agent").replaceChildren(...agents.map((agent) => new Option(agent.name, agent.name)));
  for (const agent of agents) for (const tool of agent.tools) schemas.set(`${agent.name}/${tool.name}`, tool.parameters);
  const { skills } = await (await api("/v1/skills")).json();
  for (const { name } of [...skills, { name: "none" }]) $("skill").append(new Option(name, name));
}

begin().catch((error) => $("log").append(make("p", error.message, "error")));
