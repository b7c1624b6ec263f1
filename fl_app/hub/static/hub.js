// An open page follows what it shows: the server sends its content whenever it has changed. Without this file all
// pages work, but for the copy buttons.
const main = document.getElementById("content");
const state = document.getElementById("state");
let stream = null;

function key(element) {
  return element.id || element.dataset.key || "";
}

// What the reader has opened, and where he is, stay as they are.
function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  const open = new Map([...main.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  for (const one of fresh.querySelectorAll("details[id]")) {
    if (open.has(one.id)) one.open = open.get(one.id);
  }
  fillForms(fresh);
  merge(main, fresh);
}

// Replaces what differs, from the outside in, so that the rest keeps focus, selection and scrolling.
function merge(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  const known = new Map(before.filter((node) => node.nodeType === 1 && key(node)).map((node) => [key(node), node]));
  const kept = new Set();
  const nodes = after.map((node, position) => {
    const same = node.nodeType === 1 && key(node) ? known.get(key(node)) : before[position];
    if (!same || kept.has(same) || same.nodeType !== node.nodeType || same.nodeName !== node.nodeName) return node;
    if (node.nodeType === 1 && key(node) !== key(same)) return node;
    kept.add(same);
    if (node.nodeType !== 1) {
      if (same.data !== node.data) same.data = node.data;
      return same;
    }
    for (const { name } of [...same.attributes]) if (!node.hasAttribute(name)) same.removeAttribute(name);
    for (const { name, value } of node.attributes) if (same.getAttribute(name) !== value) same.setAttribute(name, value);
    merge(same, node);
    return same;
  });
  for (const node of before) if (!kept.has(node)) node.remove();
  nodes.forEach((node, position) => {
    if (old.childNodes[position] !== node) old.insertBefore(node, old.childNodes[position] ?? null);
  });
}

// A form carries what only a page of this session knows.
function fillForms(root) {
  for (const form of root.querySelectorAll("form[data-action]")) {
    const field = form.querySelector("input[name=form]") ?? form.appendChild(document.createElement("input"));
    field.type = "hidden";
    field.name = "form";
    field.setAttribute("value", main.dataset.form);
  }
}

function follow() {
  if (stream || document.hidden || !main.dataset.page) return;
  const query = new URLSearchParams({ page: main.dataset.page, known: main.dataset.digest });
  stream = new EventSource(`/events?${query}`);
  stream.onopen = () => { state.textContent = "live"; state.className = "live"; };
  stream.onmessage = (event) => {
    main.dataset.digest = event.lastEventId;
    show(JSON.parse(event.data));
  };
  stream.onerror = () => {
    state.textContent = "not connected";
    state.className = "lost";
    if (stream?.readyState === EventSource.CLOSED) {
      leave();
      setTimeout(again, 5000);
    }
  };
}

// A browser has six connections to a host: a page that nobody sees takes none.
function leave() {
  stream?.close();
  stream = null;
}

async function again() {
  const session = await fetch("/login/session").catch(() => null);
  if (session?.status === 401) location.reload();
  else follow();
}

document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
fillForms(document);
follow();
