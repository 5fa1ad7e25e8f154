// The conversation: what is asked, the runs that answer it, and what waits for approval.

import { api, eventsOf, json } from "./api.js";
import { $, button, counted, icon, long, make, opening, shown } from "./elements.js";
import { RunView } from "./run.js";

const KEPT = "loraloop-conversation";
export const agents = new Map(); // by name
let messages = []; // of the conversation, as the next run is given them
let turns = []; // the ids of its runs, so that it is there again after a reload
let current = null; // the run that is being read: {agent, id, abort, over}

const pathOf = (agent, ...rest) => ["/v1/agents", encodeURIComponent(agent), "runs", ...rest.map(encodeURIComponent)].join("/");
const schemaOf = (agent) => (tool) => agents.get(agent)?.tools.find((each) => each.name === tool)?.parameters;

// A run that is over, or that waits, as a turn.
export function turnOf({ prompt, agent, events, state, schemaOf: schemas }) {
  const view = new RunView(prompt, { agent, schemaOf: schemas || schemaOf(agent), decide: state === "waiting" ? decided : null });
  view.agent = agent;
  events.forEach((event) => view.show(event));
  view.working = false;
  if (state === "failed" && !events.some((event) => event.type === "RunFailed" || event.type === "RunFinished")) view.fail("The run was interrupted.");
  return view;
}

const inChat = (view) => view.place.parentElement === $("log");

// Shows a run as it happens; whether it began.
async function follow(view, path, body) {
  while (current) await current.over;
  const abort = new AbortController();
  let ended;
  const mine = (current = { agent: view.agent, id: null, abort, over: new Promise((done) => (ended = done)) });
  $("send").hidden = !($("stop").hidden = false);
  $("log").ariaBusy = "true"; // a screen reader reads the run when it is over, not each token
  view.working = true;
  try {
    const answer = await api(path, body, abort.signal);
    for await (const event of eventsOf(answer)) {
      if (mine.id === null && inChat(view) && !turns.includes(event.run_id)) keep([...turns, event.run_id]);
      mine.id = event.run_id;
      const page = document.documentElement;
      const atEnd = page.scrollHeight - window.innerHeight - window.scrollY < 100;
      view.show(event);
      if (event.type === "RunFinished" && inChat(view)) learn(event.result);
      if (atEnd && inChat(view)) requestAnimationFrame(() => (page.scrollTop = page.scrollHeight)); // after the answer is drawn
    }
  } catch (error) {
    view.fail(error.name === "AbortError" ? "stopped" : error.message);
  } finally {
    current = null;
    view.working = false;
    $("stop").hidden = !($("send").hidden = false);
    $("log").ariaBusy = "false";
    ended();
  }
  listWaiting().catch(() => {});
  return mine.id !== null;
}

function learn(result) {
  if (result.stop_reason === "approval") return;
  messages = result.messages.filter((message) => message.role !== "system").map(({ role, content }) => ({ role, content }));
}

function keep(ids) {
  turns = ids;
  sessionStorage.setItem(KEPT, JSON.stringify(ids));
  $("chat").classList.toggle("begun", ids.length > 0);
}

async function ask(event) {
  event.preventDefault();
  const input = $("input").value.trim();
  const agent = $("agent").value;
  if (!input || current || !agent) return;
  $("input").value = "";
  fit();
  const view = new RunView(input, { agent, schemaOf: schemaOf(agent), decide: decided });
  view.agent = agent;
  $("log").append(view.place);
  $("chat").classList.add("begun");
  view.place.scrollIntoView({ block: "end" });
  await follow(view, pathOf(agent), { input, messages, ...($("skill").value && { skill: $("skill").value }) });
  focus(view);
}

// Goes on with what was decided about calls.
async function decided(view, run, calls, decisions) {
  if (!(await follow(view, pathOf(view.agent, run, "approve"), { decisions }))) view.askAgain(run, calls);
  focus(view);
}

// Where the keyboard goes on when a run has stopped: to what waits, else to the next message.
function focus(view) {
  (view.form || (inChat(view) ? $("input") : $("run-view"))).focus();
}

export function stop() {
  if (!current) return;
  const { agent, id, abort } = current;
  if (id) api(pathOf(agent, id, "cancel"), {}).catch(() => abort.abort());
  else abort.abort();
}

function forget() {
  stop();
  messages = [];
  keep([]);
  $("log").replaceChildren();
  $("input").focus();
}

// Shows the conversation that the page had before it was loaded again, as far as the server knows its runs.
async function remember() {
  const ids = JSON.parse(sessionStorage.getItem(KEPT) || "[]");
  const found = await Promise.all(ids.map((id) => json(`/v1/runs/${encodeURIComponent(id)}`).catch(() => null)));
  const runs = found.filter(Boolean);
  if (current || turns.length || !runs.length) return;
  $("log").append(...runs.map((run) => turnOf(run).place));
  keep(runs.map((run) => run.id));
  for (const { result } of runs) if (result) learn(result);
  document.documentElement.scrollTop = document.documentElement.scrollHeight;
}

// ---- what waits for approval ---------------------------------------------------------------------------------------

let goTo = async () => {}; // shows a view, and in that of the runs a run that is not in the conversation

export async function listWaiting() {
  const { runs } = await json("/v1/runs");
  const waiting = runs.filter((run) => run.state === "waiting");
  const places = waiting.map((run) => button(run.prompt, () => review(run.id), "prompt"));
  const told = `${counted(waiting.length, "run")} ${waiting.length === 1 ? "waits" : "wait"} for your approval`;
  const line = [icon("waits"), make("strong", told), ...places];
  const before = [...$("waiting").querySelectorAll("button")].map((each) => each.textContent).join("\n");
  if (before !== places.map((each) => each.textContent).join("\n")) $("waiting").replaceChildren(...(waiting.length ? line : []));
  return runs;
}

async function review(id) {
  const form = $("log").querySelector(`[data-run="${CSS.escape(id)}"] .approval`);
  if (!form) return goTo("runs", id);
  await goTo("chat");
  form.scrollIntoView({ block: "center" });
  form.focus();
}

// ---- the form ------------------------------------------------------------------------------------------------------

function fit() {
  $("input").style.height = "auto";
  $("input").style.height = `${$("input").scrollHeight}px`;
}

function describe() {
  const { name, description, tools } = agents.get($("agent").value);
  $("agent-about").textContent = description;
  const about = tools.map((tool) => {
    const entry = opening("", make("p", tool.description), long(shown(tool.parameters), `Schema of ${tool.name}`));
    entry.firstChild.append(make("strong", tool.name), make("span", tool.description, "gist"));
    return make("li", "", "", entry);
  });
  $("welcome").replaceChildren(
    make("h3", `What can ${name} do for you?`),
    ...(description ? [make("p", description)] : []),
    ...(about.length ? [make("ul", "", "", ...about)] : [make("p", "It has no tools.", "facts")]),
  );
}

export async function startChat(go) {
  goTo = go;
  $("ask").addEventListener("submit", ask);
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", forget);
  $("input").addEventListener("input", fit);
  $("agent").addEventListener("change", describe);
  const byTouch = matchMedia("(pointer: coarse)").matches; // there Enter begins a new line, and the button sends
  $("input").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.shiftKey || (byTouch && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
  for (const agent of (await json("/v1/agents")).agents) agents.set(agent.name, agent);
  const names = [...agents.keys()].filter((name) => name !== "assistant");
  if (agents.has("assistant")) names.push("assistant"); // that of the command line stands behind those of a file
  $("agent").replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.length) describe();
  const { skills } = await json("/v1/skills");
  for (const { name } of [...skills, { name: "none" }]) $("skill").append(new Option(name, name));
  await remember();
  await listWaiting();
  setInterval(() => document.visibilityState === "visible" && listWaiting().catch(() => {}), 15_000);
}
