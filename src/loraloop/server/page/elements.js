// Elements of the page. What models, tools and documents say is put into them as text; answers alone, which are
// Markdown, become elements: HTML in them stays text, and what the Markdown library made is sanitised.

/* global markdownit, DOMPurify, hljs */

export const $ = (id) => document.getElementById(id);

export function make(tag, text = "", className = "", ...children) {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));
export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const seconds = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);
export const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

const SKILLS = ["tools", "code", "retrieval", "safety", "answer", "none"];
export const skillClass = (name) => `skill-${SKILLS.includes(name) ? name : "other"}`;

export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.classList.add("icon");
  drawing.ariaHidden = "true";
  drawing.append(use);
  return drawing;
}

export function button(text, act, className = "") {
  const made = make("button", text, className);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A part that the keyboard can scroll.
function scrolling(element, label) {
  element.tabIndex = 0;
  element.role = "group";
  element.ariaLabel = label;
  return element;
}

// Text that may be long.
export const long = (text, label) => scrolling(make("pre", text, "long"), label);

export const wide = (table, label, className = "") => scrolling(make("div", "", `scroll ${className}`, table), label);

export const opening = (name, ...children) => make("details", "", "facts", make("summary", name), ...children);

export function tableOf(caption, names) {
  const head = make("tr");
  for (const name of names) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  return make("table", "", "", ...(caption ? [make("caption", caption)] : []), make("thead", "", "", head));
}

// A probability as a bar with a mark at the threshold, if there is one.
export function shareBar(name, share, threshold = null, about = "") {
  const meter = make("meter");
  meter.max = 1;
  meter.value = share;
  meter.ariaLabel = `${name} ${percent(share)}${threshold === null ? "" : `, threshold ${percent(threshold)}`}`;
  const bar = make("span", "", "bar", meter);
  if (threshold !== null) {
    const mark = make("i", "", "threshold");
    mark.style.left = percent(threshold).replace(" ", "");
    bar.append(mark);
  }
  return [make("span", name), bar, make("span", percent(share) + (about && threshold !== null ? `, ${about} ${percent(threshold)}` : ""))];
}

// A button that copies a text. Browsers let pages copy only where they came by TLS or from this machine.
export function copyButton(text, about) {
  if (!navigator.clipboard) return "";
  const copy = button("", async () => {
    await navigator.clipboard.writeText(text);
    copy.lastChild.textContent = "Copied";
    setTimeout(() => (copy.lastChild.textContent = "Copy"), 2000);
  }, "copy");
  copy.append(icon("copy"), make("span", "Copy"));
  copy.ariaLabel = `Copy ${about}`;
  return copy;
}

// ---- Markdown ------------------------------------------------------------------------------------------------------

const LONGEST = 100_000; // characters of a text that is read as Markdown
const LONGEST_CODE = 20_000; // characters of a block whose syntax is coloured
const SANITISED = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
  ALLOWED_ATTR: ["align", "class", "href", "start"],
  ADD_URI_SAFE_ATTR: ["align", "start"], // the next line is only about links
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const COLOURED = (code, language) =>
  hljs.getLanguage(language) && code.length < LONGEST_CODE ? hljs.highlight(code, { language, ignoreIllegals: true }).value : "";

const reader = markdownit({ html: false, breaks: true, linkify: true, highlight: COLOURED });
reader.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
// What is no address for a browser stays text as well.
const { validateLink } = reader;
reader.validateLink = (address) => validateLink(address) && URL.canParse(address, location.href);
// An image is a link: to load it would tell its server who reads the answer.
reader.renderer.rules.image = (tokens, at, options, env, self) => {
  const escape = reader.utils.escapeHtml;
  const source = tokens[at].attrGet("src");
  return `<a href="${escape(source)}">${escape(self.renderInlineAsText(tokens[at].children, options, env) || source)}</a>`;
};
for (const cell of ["th_open", "td_open"]) {
  reader.renderer.rules[cell] = (tokens, at, options, env, self) => {
    const style = tokens[at].attrGet("style");
    if (style) tokens[at].attrs = [["align", style.replace("text-align:", "")]];
    return self.renderToken(tokens, at, options);
  };
}
// The page has headings of two levels, and those of an answer stand below them without a gap.
reader.core.ruler.push("headings", ({ tokens }) => {
  const above = [];
  for (const token of tokens.filter(({ type }) => type === "heading_open" || type === "heading_close")) {
    const level = Number(token.tag[1]);
    while (token.nesting > 0 && above.at(-1) >= level) above.pop();
    if (token.nesting > 0) above.push(level);
    token.tag = `h${Math.min(6, 2 + above.length)}`;
  }
});

DOMPurify.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName !== "A" || !element.hasAttribute("href")) return;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
});

// Shows a text in the place of what an element has.
export function showMarkdown(place, text) {
  if (text.length > LONGEST) {
    place.replaceChildren(make("pre", text));
    return;
  }
  const content = DOMPurify.sanitize(reader.render(text), SANITISED);
  for (const link of content.querySelectorAll("a[href]")) {
    const { host, pathname, protocol, username } = link;
    const isAddress = [link.href, link.getAttribute("href")].includes(link.textContent) && !username;
    if (!isAddress) link.after(make("span", ` (${protocol === "mailto:" ? pathname : host})`, "host"));
  }
  for (const table of content.querySelectorAll("table")) {
    const around = wide("", "Table");
    table.replaceWith(around);
    around.append(table);
  }
  for (const block of content.querySelectorAll("pre")) {
    const code = block.textContent.replace(/\n$/, "");
    const language = block.firstElementChild?.className.match(/language-(\S+)/)?.[1] || "text";
    const head = make("div", "", "code-head", make("span", language), copyButton(code, "the code"));
    const around = make("div", "", "code");
    block.replaceWith(around);
    around.append(head, scrolling(block, `Code, ${language}`));
  }
  place.replaceChildren(content);
}
