// A run as a turn of a conversation: a line for each step, which opens; then the answer, once; then what was done.

import { button, copyButton, icon, long, make, opening, percent, seconds, shareBar, showMarkdown, shown, skillClass } from "./elements.js";

const DID = {
  answer: "answered from the passages",
  ask: "asks for what is missing",
  code: "wrote a program",
  flawed: "wrote what no record bears out",
  invalid: "wrote nothing valid",
  no_call: "made no call",
  not_answerable: "found no answer in the passages",
  repeated: "asked for what is known",
  safe: "found the request safe",
  text: "wrote the answer",
  truncated: "was cut off at a limit",
  ungrounded: "used values that nobody gave",
  unsafe: "found the request unsafe",
};
const STOPPED = {
  cancelled: "The run was stopped.",
  context: "The conversation is longer than the context.",
  deadline: "The run met its deadline.",
  invalid: "The model could not write what was required.",
  max_steps: "The run met its limit of steps.",
  max_tokens: "The run met its limit of tokens.",
  max_tool_calls: "The run met its limit of calls.",
  repetition: "The model wrote the same over and over.",
  stopped: "The run was stopped.",
  tool_call: "The calls are left to the caller.",
};
const RECEIPT = { done: "Done", empty: "No result", denied: "Denied", failed: "Failed", unknown: "Not known" };
const MANY = 4; // calls from which their receipts are closed at first, where all of them were done

const took = ({ first_token: first, ...ms }) => Object.values(ms).reduce((sum, each) => sum + each, 0);
const inWords = (given) => Object.entries(given || {}).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
const inCalls = (calls) => calls.map((call) => `${call.name}(${inWords(call.arguments)})`).join(", ");
const named = (values) => (values || []).map(({ argument, value }) => `${argument} ${JSON.stringify(value)}`).join(", ");

export class RunView {
  // `schemaOf` gives the schema of a tool's arguments. Calls that wait can be approved where there is `decide`.
  constructor(prompt, { agent = "", schemaOf = () => undefined, decide = null } = {}) {
    this.schemaOf = schemaOf;
    this.decide = decide;
    this.steps = new Map();
    this.results = new Map(); // of calls
    this.screen = null;
    this.waiting = [];
    this.form = null;
    this.said = ""; // of the answer so far
    this.list = make("div", "", "steps");
    this.notes = make("div", "", "notes");
    this.answer = make("div", "", "answer");
    this.after = make("div", "", "after");
    this.answer.hidden = true;
    this.reply = make("div", "", "reply", ...(agent ? [make("p", agent, "agent")] : []), this.list, this.notes, this.answer, this.after);
    this.place = make("article", "", "turn", make("div", prompt, "said"), this.reply);
    this.working = true;
  }

  set working(on) {
    this.reply.classList.toggle("working", on);
  }

  show(event) {
    const handler = this[`on${event.type}`];
    if (handler) handler.call(this, event);
  }

  fail(text) {
    this.working = false;
    this.after.append(make("p", text, "error"));
  }

  onRunStarted(event) {
    this.working = true;
    this.place.dataset.run = event.run_id;
    if (event.resumed) this.form?.remove();
    this.form = null;
  }

  step(index) {
    if (!this.steps.has(index)) {
      const [gist, time] = [make("span", "", "gist"), make("span", "", "time")];
      const head = make("summary", "", "", make("span", `step ${index + 1}`, "name"), gist, time);
      const route = make("p", "", "facts");
      const text = make("pre", "", "written");
      const spoken = make("span", "", "unseen");
      const legend = make("p", "", "facts", make("span", "forced by the grammar", "forced"), " · chosen by the model", spoken);
      const rows = make("div", "", "routes");
      rows.role = "group";
      rows.ariaLabel = "Probabilities";
      text.hidden = legend.hidden = true;
      const card = make("details", "", "step now", head, route, rows, text, legend);
      this.list.append(card);
      this.steps.set(index, { card, head, gist, time, route, text, legend, spoken, rows });
    }
    return this.steps.get(index);
  }

  note(step, words) {
    const { card, text } = this.step(step);
    card.insertBefore(make("p", words, "facts"), text);
  }

  onScreened(event) {
    this.screen = event;
  }

  onRouted(event) {
    const { card, head, route, rows } = this.step(event.step);
    card.classList.add(skillClass(event.skill));
    head.firstChild.textContent = event.skill;
    const facts = [`${percent(event.probability)} by the ${event.decided_by}`];
    if (event.abstained) facts.push("abstained");
    if (event.routed && event.routed !== event.skill) facts.push(`the router: ${event.routed}`);
    if (event.masked.length) facts.push(`masked: ${event.masked.join(", ")}`);
    route.textContent = facts.join(" · ");
    const shares = event.decided_by === "screen" ? [] : [[event.skill, event.probability], ...event.runners_up];
    const first = shares.find(([name]) => name !== "none");
    for (const each of shares) {
      rows.append(...shareBar(...each, each[0] === "none" ? null : event.threshold, each === first ? "taken from" : ""));
    }
    if (this.screen) {
      rows.append(...shareBar("screen", this.screen.probability, this.screen.threshold, "asks from"));
      this.screen = null;
    }
  }

  onSkillActivated(event) {
    if (event.written_by) this.note(event.step, `written by the fallback, ${event.written_by}`);
  }

  onGated({ gate }) {
    if (["passed", "safe"].includes(gate.outcome)) return;
    this.note(gate.step, `the gate of the ${gate.place}${gate.tool && ` of ${gate.tool}`}: ${gate.outcome}`);
  }

  onToolsLimited(event) {
    this.note(event.step, `the guard leaves these tools: ${event.tools.join(", ") || "none"}`);
  }

  onCompacted({ compaction }) {
    this.notes.append(make("p", `the transcript was made shorter, from ${compaction.before} tokens to ${compaction.after}`, "facts"));
  }

  onHookFailed(event) {
    this.notes.append(make("p", `the hook ${event.hook} failed: ${event.error}`, "error"));
  }

  onTokenGenerated(event) {
    if (event.answer) {
      this.step(event.step).gist.textContent = DID.text;
      this.say(event.text);
    } else this.write(event.step, event.text, event.spans);
  }

  // The answer as it grows, drawn once a frame at most.
  say(text) {
    if (!this.said) this.answer.hidden = false;
    this.said += text;
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      if (this.said) showMarkdown(this.answer, this.said);
    });
  }

  // Adds text to a step. What a grammar forced looks different, and a sentence says which for screen readers.
  write(step, written, spans = []) {
    const { gist, text, legend, spoken } = this.step(step);
    const letters = Array.from(written); // a span counts characters, and some characters are two units of a string
    let at = 0;
    for (const [start, end] of spans) {
      text.append(letters.slice(at, start).join(""), make("span", letters.slice(start, end).join(""), "forced"));
      at = end;
    }
    text.append(letters.slice(at).join(""));
    text.normalize();
    text.hidden = false;
    gist.textContent = text.textContent.slice(-80);
    legend.hidden &&= !spans.length;
    if (legend.hidden) return;
    const isForced = (node) => node.nodeType === Node.ELEMENT_NODE;
    const [some, others] = [true, false].map((kind) => [...text.childNodes].filter((node) => isForced(node) === kind).map((node) => node.textContent));
    const shorter = some.join("").length < others.join("").length;
    spoken.textContent = shorter ? `. Forced: ${some.join(", ")}` : `. Chosen: ${others.join(", ")}`;
  }

  onToolCallStarted(event) {
    this.step(event.step).gist.textContent = inCalls([event]);
    this.call(event.step, event.id, event.name, event.arguments);
  }

  call(step, id, name, given) {
    const [facts, result] = [make("p", "running", "facts"), long("…", `Result of ${name}`)];
    const { card } = this.step(step);
    const box = make("div", "", "call", make("div", "", "", make("strong", name), make("pre", shown(given))));
    const schema = this.schemaOf(name);
    if (schema) {
      const opened = opening("schema", long(shown(schema), `Schema of ${name}`));
      opened.open = !card.querySelector(".call details"); // the step's first: often all calls are of one tool
      box.append(opened);
    }
    box.append(facts, result);
    card.append(box);
    this.results.set(id, result);
    return result;
  }

  onToolCallFinished(event) {
    const { id, name, result, error, ms, approval, wanted, repeated, left_out: hidden } = event.call;
    const place = this.results.get(id) || this.call(event.step, id, name, event.call.arguments);
    place.textContent = error === null ? shown(result) : `error: ${error}`;
    place.classList.toggle("error", error !== null);
    const facts = ["result", `${ms.toFixed(1)} ms`, approval, wanted && `the model wrote ${JSON.stringify(wanted)}`];
    facts.push(repeated && "asked before: the same result", hidden && `${hidden} tokens not shown to the model`);
    place.previousSibling.textContent = facts.filter(Boolean).join(" · ");
  }

  onApprovalRequested(event) {
    this.waiting = event.calls;
    if (event.step === undefined) return; // of a trace
    const { card, gist } = this.step(event.step);
    card.classList.remove("now");
    gist.textContent = inCalls(event.calls);
  }

  onUngrounded({ step, values, ask }) {
    this.note(step, `nobody gave ${named(values)}: ${ask?.length ? "the user is asked" : "written again"}`);
  }

  onAnswerFlawed({ flaws, again }) {
    const wrong = (flaws || [])
      .map(({ kind, text }) => (kind === "contradiction" ? `“${text}” contradicts the records` : `no record has “${text}”`))
      .join("; ");
    const words = `${again ? "A larger model is asked for the answer" : "What the records say is the answer"}: ${wrong}.`;
    this.said = "";
    this.answer.hidden = true;
    this.after.append(make("p", "", "checked", icon("checked"), make("span", words)));
  }

  onRefused(event) {
    this.after.append(make("p", `refused: ${event.category}`, "refused"));
  }

  onStepFinished({ step }) {
    const { card, gist, time, text, rows } = this.step(step.index);
    card.classList.remove("now");
    if (step.text && text.hidden && step.text !== this.said) this.write(step.index, step.text, step.tokens.spans);
    gist.textContent = step.error ? `failed: ${step.error}` : inCalls(step.calls) || DID[step.outcome] || step.outcome;
    gist.classList.toggle("error", Boolean(step.error));
    time.textContent = seconds(took(step.ms));
    const { weighed, tokens } = step;
    if (weighed) rows.append(...shareBar(weighed.opening.replace("_", " "), weighed.probability, weighed.threshold, "taken from"));
    const { first_token: first, ...ms } = step.ms;
    const phases = Object.entries(ms).filter(([, each]) => each >= 0.05).sort((one, other) => other[1] - one[1]);
    const bar = make("div", "", "phases");
    for (const [name, each] of phases) {
      const part = make("span");
      part.title = name;
      part.style.flexGrow = each;
      bar.append(part);
    }
    const facts = `${tokens.generated} tokens, ${tokens.forced} of them forced · ${tokens.prefilled} read, ${tokens.reused} reused`;
    card.append(make("p", `${step.outcome}${step.kept ? "" : ", dropped"} · ${facts}`, "facts"), bar);
    const times = phases.map(([name, each]) => `${name} ${each.toFixed(1)} ms`);
    if (first) times.push(`first token after ${first.toFixed(1)} ms`);
    card.append(make("p", times.join(" · "), "facts"));
    if (step.error) card.append(make("p", step.error, "error"));
  }

  onRunFinished({ run_id: run, result }) {
    this.working = false;
    if (result.stop_reason === "approval") {
      const names = this.waiting.map((call) => call.name).join(", ");
      this.form = this.decide ? this.approval(run, this.waiting) : make("p", `${names}: approval was awaited`, "facts");
      this.after.append(this.form);
      return;
    }
    this.finish(result);
    if (STOPPED[result.stop_reason]) this.fail(STOPPED[result.stop_reason]);
    const path = [...new Set(result.steps.map((step) => step.skill))].join(" → ");
    const foot = make("div", "", "foot", make("span", [path, seconds(result.ms)].filter(Boolean).join(" · "), "facts"));
    if (result.output) foot.prepend(copyButton(result.output, "the answer"));
    this.after.append(foot);
  }

  // The answer, in the one place that it has: a step whose text it is does not repeat it.
  finish(result) {
    cancelAnimationFrame(this.drawing);
    this.drawing = 0;
    const isData = result.value !== null && typeof result.value === "object";
    this.answer.hidden = !result.output;
    this.answer.classList.toggle("refused", result.stop_reason === "refused");
    if (result.output) showMarkdown(this.answer, isData ? `~~~json\n${JSON.stringify(result.value, null, 2)}\n~~~` : result.output);
    for (const step of result.steps) {
      const { text, spans } = this.step(step.index);
      if (!step.text || step.text.trim() !== result.output.trim() || step.tokens.spans.length) continue;
      text.replaceChildren();
      text.hidden = true;
      this.note(step.index, "its text is the answer");
    }
    for (const passage of result.cited || []) {
      this.after.append(make("details", "", "cited", make("summary", `cites ${passage.title || passage.id}`), make("p", passage.text)));
    }
    if (result.receipts?.length) this.after.prepend(this.receipts(result.receipts));
  }

  // What came of each call, in the words of its record, whatever the answer says.
  receipts(receipts) {
    const counts = Map.groupBy(receipts, (receipt) => receipt.status);
    const told = [...counts].map(([status, those]) => `${those.length} ${RECEIPT[status].toLowerCase()}`).join(", ");
    const lines = receipts.map(({ status, text }) => {
      const head = make("summary", "", "", icon(status), make("b", RECEIPT[status]), make("span", text.slice(text.indexOf(": ") + 2), "gist"));
      return make("li", "", `receipt ${status}`, make("details", "", "", head, make("p", text)));
    });
    const list = make("ul", "", "", ...lines);
    if (receipts.length === 1) return make("div", "", "receipts", list);
    const box = make("details", "", "receipts", make("summary", `${receipts.length} calls: ${told}`), list);
    box.open = receipts.length < MANY || counts.size > 1 || !counts.has("done");
    return box;
  }

  onRunFailed(event) {
    this.fail(event.error.message);
  }

  approval(run, calls) {
    const box = make("div", "", "approval");
    box.role = "group";
    box.tabIndex = -1;
    box.ariaLabel = "Calls that wait for approval";
    const decisions = {};
    for (const call of calls.filter((each) => each.waits)) {
      const given = make("textarea", JSON.stringify(call.arguments, null, 1));
      given.rows = Math.min(12, given.value.split("\n").length);
      given.ariaLabel = `Arguments of ${call.name}`;
      const buttons = make("div", "", "buttons");
      const problem = make("p", "", "error");
      const decide = (approve) => {
        decisions[call.id] = { approve };
        if (approve && given.value !== given.defaultValue) {
          try {
            decisions[call.id].arguments = JSON.parse(given.value);
          } catch (error) {
            problem.textContent = `These arguments are no JSON: ${error.message}`;
            edit.open = true;
            given.focus();
            return;
          }
        }
        given.disabled = true;
        problem.textContent = "";
        buttons.replaceChildren(make("span", approve ? "approved" : "denied", "facts"));
        const next = box.querySelector("button");
        if (next) next.focus();
        else this.decide(this, run, calls, decisions);
      };
      buttons.append(button("Approve", () => decide(true), "main"), button("Deny", () => decide(false)));
      const pairs = Object.entries(call.arguments).flatMap(([name, value]) => [make("dt", name), make("dd", shown(value))]);
      const edit = opening("Edit the arguments", given);
      const unknown = (call.ungrounded || []).map((value) => make("p", `nobody gave ${named([value])}`, "error"));
      const head = make("p", "", "", icon("waits"), make("strong", call.name), " waits for your approval");
      box.append(make("div", "", "", head, make("dl", "", "", ...pairs), ...unknown, edit, problem, buttons));
    }
    return box;
  }

  // Where the server did not take what was decided, it is asked for again.
  askAgain(run, calls) {
    const again = this.approval(run, calls);
    if (this.form) this.form.replaceWith(again);
    else this.after.append(again);
    this.form = again;
    this.working = false;
  }
}
