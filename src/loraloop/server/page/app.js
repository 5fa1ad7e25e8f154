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
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
const skillClass = (name) => `skill-${SKILLS.includes(name) ? name : "other"}`;

// A probability as a bar with a mark at the threshold, if there is one.
function shareBar(name, share, threshold = null, about = "") {
  const meter = make("meter");
  meter.max = 1;
  meter.value = share;
  meter.setAttribute("aria-label", `${name} ${percent(share)}${threshold === null ? "" : `, threshold ${percent(threshold)}`}`);
  const bar = make("span", "", "bar", meter);
  if (threshold !== null) {
    const mark = make("i", "", "threshold");
    mark.style.left = percent(threshold).replace(" ", "");
    bar.append(mark);
  }
  return [make("span", name), bar, make("span", percent(share) + (about && threshold !== null ? `, ${about} ${percent(threshold)}` : ""))];
}

// Text that may be long, in a frame that scrolls and that the keyboard reaches.
function scrolled(text, label) {
  const frame = make("pre", text, "long");
  frame.tabIndex = 0;
  frame.role = "group";
  frame.setAttribute("aria-label", label);
  return frame;
}

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
  // Without an agent, as in a trace, nothing can be approved. `schemaOf` gives the schema of a tool's arguments.
  constructor(parent, agent, schemaOf = (tool) => schemas.get(`${agent}/${tool}`)) {
    this.parent = parent;
    this.agent = agent;
    this.schemaOf = schemaOf;
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
    if (!event.resumed || !this.form) return;
    const names = this.waiting.filter((call) => call.waits).map((call) => call.name);
    this.form.replaceWith(make("p", `${names.join(", ")} waited for approval, and it was decided`, "facts"));
  }

  step(index) {
    if (!this.steps.has(index)) {
      const head = make("summary", "", "", make("span", `step ${index + 1}`, "name"));
      const text = make("pre", "", "written");
      const spoken = make("span", "", "unseen");
      const legend = make("p", "", "facts", make("span", "forced by the grammar", "forced"), " · chosen by the model", spoken);
      const rows = make("div", "", "routes");
      rows.role = "group";
      rows.setAttribute("aria-label", "Probabilities");
      text.hidden = legend.hidden = true;
      const card = make("details", "", "step", head, text, legend);
      card.open = true;
      this.parent.append(card);
      this.steps.set(index, { card, head, text, legend, spoken, rows });
    }
    return this.steps.get(index);
  }

  Screened(event) {
    this.screen = event;
  }

  Routed(event) {
    const { card, head, text, rows } = this.step(event.step);
    card.classList.add(skillClass(event.skill));
    head.firstChild.textContent = event.skill;
    head.append(make("span", percent(event.probability)), make("span", `by the ${event.decided_by}`, "facts"));
    if (event.abstained) head.append(make("span", "abstained", "facts"));
    if (event.routed && event.routed !== event.skill) head.append(make("span", `the router: ${event.routed}`, "facts"));
    const byScreen = event.decided_by === "screen";
    const shares = byScreen ? [] : [[event.skill, event.probability], ...event.runners_up];
    const first = shares.find(([name]) => name !== "none");
    for (const each of shares) {
      rows.append(...shareBar(...each, each[0] === "none" ? null : event.threshold, each === first ? "taken from" : ""));
    }
    if (this.screen) {
      rows.append(...shareBar("screen", this.screen.probability, this.screen.threshold, "asks from"));
      this.screen = null;
    }
    card.insertBefore(rows, text);
    if (event.masked.length) this.note(event.step, `masked: ${event.masked.join(", ")}`);
  }

  note(step, said) {
    const { card, text } = this.step(step);
    card.insertBefore(make("p", said, "facts"), text);
  }

  Gated({ gate }) {
    if (["passed", "safe"].includes(gate.outcome)) return;
    this.note(gate.step, `the gate of the ${gate.place}${gate.tool && ` of ${gate.tool}`}: ${gate.outcome}`);
  }

  ToolsLimited(event) {
    this.note(event.step, `the guard leaves these tools: ${event.tools.join(", ") || "none"}`);
  }

  Compacted({ compaction }) {
    this.parent.append(make("p", `the transcript was made shorter, from ${compaction.before} tokens to ${compaction.after}`, "facts"));
  }

  HookFailed(event) {
    this.parent.append(make("p", `the hook ${event.hook} failed: ${event.error}`, "error"));
  }

  TokenGenerated(event) {
    this.write(event.step, event.text, event.spans);
  }

  // Adds text to a step. What a grammar forced looks different, and a sentence says which for screen readers.
  write(step, written, spans = []) {
    const { text, legend, spoken } = this.step(step);
    const letters = Array.from(written); // a span counts characters, and some characters are two units of a string
    let at = 0;
    for (const [start, end] of spans) {
      text.append(letters.slice(at, start).join(""), make("span", letters.slice(start, end).join(""), "forced"));
      at = end;
    }
    text.append(letters.slice(at).join(""));
    text.normalize();
    text.hidden = false;
    legend.hidden &&= !spans.length;
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
    const [facts, result] = [make("p", "running", "facts"), scrolled("…", `Result of ${name}`)];
    const { card } = this.step(step);
    const box = make("div", "", "call", make("div", "", "", make("strong", name), make("pre", shown(given))));
    const schema = this.schemaOf(name);
    if (schema) {
      const opened = make("details", "", "facts", make("summary", "schema"), scrolled(shown(schema), `Schema of ${name}`));
      opened.open = !card.querySelector(".call details"); // the step's first: often all calls are of one tool
      box.append(opened);
    }
    box.append(facts, result);
    card.append(box);
    this.calls.set(id, result);
    return result;
  }

  ToolCallFinished(event) {
    const { id, name, result, error, ms, approval, wanted, repeated, left_out: hidden } = event.call;
    const place = this.calls.get(id) || this.call(event.step, id, name, event.call.arguments);
    place.textContent = error === null ? shown(result) : `error: ${error}`;
    if (error !== null) place.classList.add("error");
    const facts = ["result", `${ms.toFixed(1)} ms`, approval, wanted && `the model wrote ${JSON.stringify(wanted)}`];
    facts.push(repeated && "asked before: the same result", hidden && `${hidden} tokens not shown to the model`);
    place.previousSibling.textContent = facts.filter(Boolean).join(" · ");
  }

  ApprovalRequested(event) {
    this.waiting = event.calls;
  }

  Ungrounded({ step, values, ask }) {
    const named = (values || []).map(({ argument, value }) => `${argument} ${JSON.stringify(value)}`).join(", ");
    this.note(step, `nobody gave ${named}: ${ask?.length ? "the user is asked" : "written again"}`);
  }

  AnswerFlawed({ step, flaws, again }) {
    const said = (flaw) => (flaw.kind === "contradiction" ? "the records contradict" : "no record has");
    const named = (flaws || []).map((flaw) => `${said(flaw)} ${flaw.text}`).join(", ");
    this.note(step, `${named}: ${again ? "written again" : "what the records say is the answer"}`);
  }

  Refused(event) {
    this.parent.append(make("p", `refused: ${event.category}`, "refused"));
  }

  StepFinished(event) {
    const { step } = event;
    const { card, text, rows } = this.step(step.index);
    if (step.text && text.hidden) this.write(step.index, step.text, step.tokens.spans);
    const { weighed, tokens } = step;
    if (weighed) rows.append(...shareBar(weighed.opening.replace("_", " "), weighed.probability, weighed.threshold, "taken from"));
    const { first_token: first, ...ms } = step.ms;
    const phases = Object.entries(ms).filter(([, took]) => took >= 0.05).sort((one, other) => other[1] - one[1]);
    const bar = make("div", "", "phases");
    for (const [name, took] of phases) {
      const part = make("span");
      part.title = name;
      part.style.flexGrow = took;
      bar.append(part);
    }
    const counted = `${tokens.generated} tokens, ${tokens.forced} of them forced · ${tokens.prefilled} read, ${tokens.reused} reused`;
    card.append(make("p", `${step.outcome}${step.kept ? "" : ", dropped"} · ${counted}`, "facts"), bar);
    const times = phases.map(([name, took]) => `${name} ${took.toFixed(1)} ms`);
    if (first) times.push(`first token after ${first.toFixed(1)} ms`);
    card.append(make("p", times.join(" · "), "facts"));
    if (step.error) card.append(make("p", step.error, "error"));
  }

  RunFinished(event) {
    const { result } = event;
    if (result.stop_reason === "approval" && !this.agent) {
      this.parent.append(make("p", `${this.waiting.map((call) => call.name).join(", ")}: approval was awaited`, "facts"));
    } else if (result.stop_reason === "approval") {
      this.parent.append((this.form = this.approval(event.run_id, this.waiting)));
      return;
    }
    this.parent.append(make("div", result.output || `(${result.stop_reason})`, `answer ${result.stop_reason === "refused" ? "refused" : ""}`));
    for (const passage of result.cited || []) {
      const opened = make("details", "", "facts", make("summary", `cites ${passage.title || passage.id}`), make("p", passage.text));
      this.parent.append(opened);
    }
    if (result.receipts?.length) {
      const lines = result.receipts.map((receipt) => make("p", receipt.text, `receipt ${receipt.status}`));
      this.parent.append(make("details", "", "facts", make("summary", "what was done"), ...lines));
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
      const unknown = (call.ungrounded || []).map(({ argument, value }) => make("p", `nobody gave ${argument} ${JSON.stringify(value)}`, "error"));
      box.append(make("strong", `${call.name} waits for your approval`), given, ...unknown, said, buttons);
    }
    return box;
  }

  // Goes on with what was decided; where the server does not take it, it is asked for again.
  async decided(run, calls, decisions) {
    const path = `/v1/agents/${encodeURIComponent(this.agent)}/runs/${encodeURIComponent(run)}/approve`;
    if (!(await read(this, path, { decisions }))) {
      const again = this.approval(run, calls);
      this.form.replaceWith(again);
      this.form = again;
    }
    this.focus();
  }

  // Where the keyboard goes on when the run has stopped: to what waits, else to the next message.
  focus() {
    const waits = this.parent.querySelector(".approval textarea:enabled");
    (waits || ($("log").contains(this.parent) ? $("input") : $("run-view"))).focus();
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
  const view = new RunView(turn, agent);
  await read(view, `/v1/agents/${encodeURIComponent(agent)}/runs`, body);
  view.focus();
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
const opened = new Map(); // traces that were opened from files, as runs of the list

async function listRuns() {
  ({ runs } = await (await api("/v1/runs")).json());
  for (const run of runs) run.started = new Date(1000 * run.started);
  showRuns();
}

function showRuns() {
  const wanted = $("search").value.toLowerCase();
  const items = [...opened.values(), ...runs].filter((run) => `${run.prompt} ${run.agent || run.file} ${run.skills.join(" ")} ${run.state}`.toLowerCase().includes(wanted)).map((run) => {
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
    open.addEventListener("click", async () => {
      await openRuns([run.id]);
      $("run-view").focus();
    });
    const waits = run.state === "waiting";
    const took = waits ? "waits for approval" : run.ms === null ? run.state : `${run.stop_reason}, ${run.ms.toFixed(0)} ms`;
    const facts = [run.agent || run.file, run.skills.join(" → "), took, run.started.toLocaleString()];
    return make("li", "", waits ? "waits" : "", mark, open, ...facts.map((fact) => make("span", fact, "facts")));
  });
  $("run-list").replaceChildren(...(items.length ? items : [make("li", wanted ? "no run is like it" : "no runs yet", "facts")]));
}

async function openRuns(ids) {
  try {
    const found = await Promise.all(ids.map(async (id) => opened.get(id) || (await api(`/v1/runs/${encodeURIComponent(id)}`)).json()));
    $("run-view").replaceChildren(...(found.length === 2 ? [differences(...found)] : []), ...found.map(column));
  } catch (error) {
    $("run-view").replaceChildren(make("p", error.message, "error"));
  }
}

function column({ prompt, agent, events, schemaOf }) {
  const place = make("div", "", "", make("div", prompt, "said"));
  const view = new RunView(place, agent, schemaOf);
  events.forEach((event) => view.show(event));
  return place;
}

const told = (call) => `${call.name} ${JSON.stringify(call.arguments)} → ${call.error ?? JSON.stringify(call.result)}`;
const COMPARED = {
  skill: (step) => `${step.skill}, by the ${step.decided_by}`,
  outcome: (step) => step.outcome + (step.error && `: ${step.error}`),
  text: (step) => step.text,
  calls: (step) => step.calls.map(told).join("\n"),
};
const MEASURED = {
  tokens: ({ tokens }) => `${tokens.generated} written, ${tokens.prefilled} read, ${tokens.reused} reused`,
  time: ({ ms }) => `${Object.entries(ms).reduce((sum, [name, took]) => sum + (name === "first_token" ? 0 : took), 0).toFixed(1)} ms`,
};

// What two runs did differently, step by step; tokens and times are set side by side.
function differences(...found) {
  const table = tableOf("", ["where", "what", "first run", "second run"]);
  const steps = found.map(({ events }) => events.filter((event) => event.type === "StepFinished").map((event) => event.step));
  const ends = found.map(({ events }) => events.findLast((event) => event.type === "RunFinished")?.result);
  let count = 0;
  const row = (where, what, texts, measured) => {
    if (texts[0] === texts[1]) return;
    count += !measured;
    const cells = [where, what, ...texts].map((text) => make("td", text));
    table.append(make("tr", "", measured ? "facts" : "differs", ...cells));
  };
  row("request", "prompt", found.map((run) => run.prompt));
  for (let at = 0; at < Math.max(...steps.map((each) => each.length)); at += 1) {
    for (const [what, read] of [...Object.entries(COMPARED), ...Object.entries(MEASURED)]) {
      row(`step ${at + 1}`, what, steps.map((each) => (each[at] ? read(each[at]) : "(no such step)")), what in MEASURED);
    }
  }
  row("end", "stop reason", ends.map((end) => end?.stop_reason || "(no end)"));
  row("end", "answer", ends.map((end) => end?.output || ""));
  table.caption.textContent = count ? `${count} ${count === 1 ? "difference" : "differences"}` : "The two runs did the same";
  const place = make("div", "", "scroll comparison", table);
  place.tabIndex = 0;
  place.role = "region";
  place.setAttribute("aria-label", "Comparison");
  return place;
}

// A trace as a run of the list, its steps and events as the events that a stream would have.
function runOfTrace(trace, file) {
  if (!/^loraloop\.trace\/[12]$/.test(trace.schema)) throw new Error(`its schema is ${JSON.stringify(trace.schema)}`);
  const { prompt, steps, end, tools, passages } = trace;
  const events = [];
  for (const step of steps) {
    const types = ["Screened", "Gated", "ToolsLimited", "Ungrounded", "AnswerFlawed"];
    const noted = trace.events.filter((each) => each.step === step.index && types.includes(each.type));
    events.push(...noted.map(({ type, data }) => ({ ...data, type, step: step.index })));
    events.push({ ...step, ...step.route, type: "Routed", step: step.index });
    events.push(...step.calls.map((call) => ({ type: "ToolCallFinished", step: step.index, call })));
    events.push({ type: "StepFinished", step });
  }
  if (end) {
    const asked = trace.events.findLast((each) => each.type === "ApprovalRequested");
    if (asked) events.push({ type: "ApprovalRequested", calls: asked.data.calls.map((name) => ({ name })) });
    if (end.category) events.push({ type: "Refused", category: end.category });
    const cited = passages.filter((passage) => end.citations.includes(passage.id));
    events.push({ type: "RunFinished", result: { ...end, steps, cited } });
  } else events.push({ type: "RunFailed", error: { message: trace.error } });
  const skills = steps.map((step) => step.skill);
  const schemaOf = (tool) => tools.find((each) => each.name === tool)?.parameters;
  const started = new Date(trace.started);
  const state = end ? "finished" : "failed";
  return { id: `file:${trace.run_id}:${file}`, file, agent: "", prompt: prompt || file, skills, state, started, events, schemaOf, stop_reason: end?.stop_reason, ms: end ? end.ms : null };
}

async function openFiles(event) {
  const files = [...event.target.files];
  const problems = [];
  marked = [];
  for (const file of files) {
    try {
      const run = runOfTrace(JSON.parse(await file.text()), file.name);
      column(run); // so that one that cannot be shown is not in the list
      opened.set(run.id, run);
      marked = [...marked.slice(-1), run.id];
    } catch (error) {
      problems.push(make("p", `${file.name} is no trace: ${error.message}`, "error"));
    }
  }
  event.target.value = "";
  if (!files.length) return;
  showRuns();
  await openRuns(marked);
  $("run-view").prepend(...problems);
}

// ---- skills and load -----------------------------------------------------------------------------------------------

function tableOf(caption, names) {
  const head = make("tr");
  for (const name of names) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  return make("table", "", "", make("caption", caption), make("thead", "", "", head));
}

function scoresOf({ scores, ...card }) {
  const table = tableOf("", ["measured", "base", "skill", "n"]);
  for (const [name, score] of Object.entries(scores || {})) {
    if (typeof score?.skill !== "number") continue;
    table.append(make("tr", "", "", ...[name, score.base, score.skill, score.n].map((value) => make("td", String(value ?? "")))));
  }
  const count = table.rows.length - 1;
  const inside = (name, shownInside) => make("details", "", "facts", make("summary", name), shownInside);
  const rest = inside("card", scrolled(shown(card), `Card of ${card.name}`));
  return make("td", "", "", ...(count ? [inside(`${count} scores`, table)] : []), rest);
}

async function listSkills() {
  const { base, skills } = await (await api("/v1/skills")).json();
  const table = tableOf(`Skills on the base ${base}`, ["skill", "writes", "method", "rank", "where", "what it is for", "scores and card"]);
  for (const card of skills) {
    const name = make("td", "", "", make("span", card.name, `name ${skillClass(card.name)}`));
    const where = card.slot === null ? card.tier : `slot ${card.slot}`;
    const cells = [card.contract, card.method, String(card.rank), where, card.description].map((text) => make("td", text));
    table.append(make("tr", "", "", name, ...cells, scoresOf(card)));
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
  $("file").addEventListener("change", openFiles);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === $("input")) $("ask").requestSubmit();
  });
  window.addEventListener("hashchange", view);
  view();
  const { agents } = await (await api("/v1/agents")).json();
  $("agent").replaceChildren(...agents.map((agent) => new Option(agent.name === "assistant" ? "assistant (auto)" : agent.name, agent.name)));
  const describe = () => {
    const { description, tools } = agents.find((agent) => agent.name === $("agent").value) || agents[0];
    $("agent-about").textContent = [description, `Tools: ${tools.map((tool) => tool.name).join(", ") || "none"}.`].filter(Boolean).join(". ");
  };
  $("agent").addEventListener("change", describe);
  if (agents.length) describe();
  for (const agent of agents) for (const tool of agent.tools) schemas.set(`${agent.name}/${tool.name}`, tool.parameters);
  const { skills } = await (await api("/v1/skills")).json();
  for (const { name } of [...skills, { name: "none" }]) $("skill").append(new Option(name, name));
}

begin().catch((error) => $("log").append(make("p", error.message, "error")));
