// What Jenkins' hudson-behavior.js and progressive-text.js do about crumbs, and what the stand-in's pages need besides.
"use strict";

const crumb = {
  field: document.head.dataset.crumbHeader,
  value: document.head.dataset.crumbValue,

  // wrap adds the crumb to the headers of a fetch.
  wrap(headers) {
    if (this.field) {
      headers[this.field] = this.value;
    }
    return headers;
  },

  // appendToForm adds the crumb as a hidden field. Jenkins can't see into a multipart body, so the URL holds it too,
  // but not in forms with data-crumb-in="field", which are as pages of plugins that know nothing of this.
  appendToForm(form) {
    if (!this.field || form.elements.namedItem(this.field)) {
      return;
    }
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = this.field;
    input.value = this.value;
    form.append(input);
    if (form.enctype === "multipart/form-data" && form.dataset.crumbIn !== "field") {
      const action = new URL(form.action);
      action.searchParams.append(this.field, this.value);
      form.action = action;
    }
  },
};

// show tells in #result how a request of this page ended; data-state is "ready", "pending" or "done".
function show(state, text) {
  const result = document.getElementById("result");
  result.dataset.state = state;
  result.textContent = text;
}

// act sends the request that a link or button stands for.
async function act(element) {
  show("pending", "pending");
  try {
    const headers = element.dataset.crumbIn === "none" ? {} : crumb.wrap({});
    const response = await fetch(element.dataset.href, { method: element.dataset.method, headers });
    show("done", `${response.status} ${await response.text()}`);
  } catch (error) {
    show("done", `0 ${error}`);
  }
}

// actByXHR is act for what in Jenkins still uses XMLHttpRequest.
function actByXHR(element) {
  show("pending", "pending");
  const request = new XMLHttpRequest();
  request.open(element.dataset.method, element.dataset.href);
  for (const [name, value] of Object.entries(crumb.wrap({}))) {
    request.setRequestHeader(name, value);
  }
  request.onloadend = () => show("done", `${request.status} ${request.responseText}`);
  request.send();
}

// buildFormTree fills the field "json", which is all that Jenkins reads of a structured form.
function buildFormTree(form) {
  const parameter = [...form.querySelectorAll(".parameter")].map(({ name, value }) => ({ name, value }));
  const { statusCode, redirectTo } = form.dataset;
  form.elements.namedItem("json").value = JSON.stringify({ parameter, statusCode, redirectTo });
}

// follow appends a build's console to an element until the build ends.
async function follow(console, start) {
  const response = await fetch(console.dataset.href, {
    method: "POST",
    headers: crumb.wrap({ "Content-Type": "application/x-www-form-urlencoded" }),
    body: new URLSearchParams({ start }),
  }).catch((error) => ({ status: 0, statusText: String(error) }));
  if (response.status === 403) {
    location.reload(); // an old crumb, most likely
    return;
  }
  if (response.status === 0 || response.status >= 500) {
    setTimeout(follow, 1000, console, start);
    return;
  }
  if (response.status >= 400) {
    show("done", `${response.status} ${response.statusText}`);
    return;
  }
  console.append(await response.text());
  if (response.headers.get("X-More-Data") === "true") {
    setTimeout(follow, 1000, console, response.headers.get("X-Text-Size"));
    return;
  }
  show("done", `${response.status} end of console`);
}

for (const form of document.querySelectorAll("form[method=post]")) {
  crumb.appendToForm(form);
}
for (const form of document.querySelectorAll("form[data-redirect-to]")) {
  form.addEventListener("submit", () => buildFormTree(form));
}
for (const element of document.querySelectorAll("[data-method]")) {
  element.addEventListener("click", (event) => {
    event.preventDefault();
    (element.dataset.by === "xhr" ? actByXHR : act)(element);
  });
}
const out = document.getElementById("out");
if (out) {
  follow(out, 0);
}
