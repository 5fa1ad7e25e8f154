// The last runs and opened trace files: searched, opened, and two of them compared.

import { json } from "./api.js";
import { listWaiting, turnOf } from "./chat.js";
import { $, button, make, seconds, tableOf, wide } from "./elements.js";

let runs = [];
let marked = []; // ids of the runs that are compared
const opened = new Map(); // traces that were opened from files, as runs of the list

export async function listRuns() {
  runs = await listWaiting();
  for (const run of runs) run.started = new Date(1000 * run.started);
  runs.sort((one, other) => (other.state === "waiting") - (one.state === "waiting"));
  showRuns();
}

export function showRuns() {
  const wanted = $("search").value.toLowerCase();
  const items = [...opened.values(), ...runs].filter((run) => `${run.prompt} ${run.agent || run.file} ${run.skills.join(" ")} ${run.state}`.toLowerCase().includes(wanted)).map((run) => {
    const mark = make("input");
    mark.type = "checkbox";
    mark.value = run.id;
    mark.checked = marked.includes(run.id);
    mark.ariaLabel = `Compare ${run.prompt}`;
    mark.addEventListener("change", () => {
      marked = mark.checked ? [...marked.slice(-1), run.id] : marked.filter((id) => id !== run.id);
      for (const box of document.querySelectorAll("#run-list input")) box.checked = marked.includes(box.value);
      openRuns(marked);
    });
    const open = button(run.prompt, () => openRun(run.id), "prompt");
    const waits = run.state === "waiting";
    const end = waits ? "waits for approval" : run.state === "finished" ? `${run.stop_reason}, ${seconds(run.ms)}` : run.state;
    const facts = [run.agent || run.file, run.skills.join(" → "), end, run.started.toLocaleString()].filter(Boolean);
    return make("li", "", waits ? "waits" : "", mark, open, make("span", facts.join(" · "), "facts"));
  });
  $("run-list").replaceChildren(...(items.length ? items : [make("li", wanted ? "no run is like it" : "no runs yet", "facts")]));
}

export async function openRun(id) {
  await openRuns([id]);
  const form = $("run-view").querySelector(".approval");
  (form || $("run-view")).scrollIntoView({ block: form ? "center" : "start" });
  (form || $("run-view")).focus({ preventScroll: true });
}

async function openRuns(ids) {
  try {
    const found = await Promise.all(ids.map((id) => opened.get(id) || json(`/v1/runs/${encodeURIComponent(id)}`)));
    $("run-view").replaceChildren(...(found.length === 2 ? [differences(...found)] : []), ...found.map((run) => turnOf(run).place));
  } catch (error) {
    $("run-view").replaceChildren(make("p", error.message, "error"));
  }
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
  const table = tableOf("0", ["where", "what", "first run", "second run"]);
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
  return wide(table, "Comparison", "comparison");
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

export async function openFiles(event) {
  const files = [...event.target.files];
  const problems = [];
  marked = [];
  for (const file of files) {
    try {
      const run = runOfTrace(JSON.parse(await file.text()), file.name);
      turnOf(run); // so that one that cannot be shown is not in the list
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
