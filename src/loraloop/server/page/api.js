// Requests to the server that served the page, with the key that it asks for.

import { $ } from "./elements.js";

let key = sessionStorage.getItem("loraloop-key") || "";

export async function api(path, body, signal) {
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (answer.status === 401) {
    await askForKey();
    return api(path, body, signal);
  }
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(error ? error.message : `${answer.status} ${answer.statusText}`), { status: answer.status });
  }
  return answer;
}

export const json = async (path) => (await api(path)).json();

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

export async function* eventsOf(answer) {
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
