// The views of the page, and its start.

import { startChat, stop } from "./chat.js";
import { $, make } from "./elements.js";
import { listLoad, listSkills } from "./overview.js";
import { listRuns, openFiles, openRun, showRuns } from "./runs.js";

const VIEWS = { chat: () => {}, runs: listRuns, skills: listSkills, load: listLoad };
let timer = 0;

async function view() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "chat";
  for (const each of Object.keys(VIEWS)) $(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.ariaCurrent = "page";
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
  if (name === "load") timer = setInterval(show, 2000);
  await show();
}

$("search").addEventListener("input", showRuns);
$("file").addEventListener("change", openFiles);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});
window.addEventListener("hashchange", view);
view();
startChat(async (name, run) => {
  location.hash = name;
  await view();
  if (run) await openRun(run);
}).catch((error) => $("log").append(make("p", error.message, "error")));
