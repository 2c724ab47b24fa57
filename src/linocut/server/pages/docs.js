// The API's description, read from /openapi.json and laid out; nothing is written twice.
const VERBS = ["get", "post", "put", "patch", "delete", "head"];
const manual = document.getElementById("manual");

function node(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const code = (text) => node("code", { textContent: text });

// A line of text, with `this` as code.
const line = (text) => (text ?? "").split("`").map((part, at) => at % 2 ? code(part) : part);

const prose = (text) => text
  ? node("div", {}, text.split(/\n\s*\n/).map((part) => node("p", {}, line(part.replaceAll("\n", " ")))))
  : null;

function table(titles, rows) {
  if (!rows.length) return null;
  const head = node("tr", {}, titles.map((title) => node("th", { textContent: title })));
  const lines = rows.map((row) => node("tr", {}, row.map((cell) => node("td", {}, cell ?? ""))));
  return node("table", {}, node("thead", {}, head), node("tbody", {}, lines));
}

function resolve(api, part) {
  if (!part?.$ref) return part ?? {};
  return part.$ref.replace("#/", "").split("/").reduce((at, key) => at?.[key], api) ?? {};
}

const choices = (schema) => (schema.anyOf ?? schema.oneOf ?? []).filter((each) => each.type !== "null");

// What a value may be, in words; a shape of its own is a link to it.
function kind(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [node("a", { href: `#${name}`, textContent: name })];
  }
  const several = choices(schema);
  if (several.length) return several.flatMap((each, at) => at ? [" or ", ...kind(each)] : kind(each));
  if (schema.const !== undefined) return [code(JSON.stringify(schema.const))];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(", ")];
  if (schema.type === "array" || schema.type?.includes?.("array")) return ["list of ", ...kind(schema.items ?? {})];
  if (schema.properties && schema.title) return [`${schema.title}, below`];
  return [[].concat(schema.type ?? "anything").filter((each) => each !== "null").join(" or ")];
}

function limits(schema) {
  const inner = [schema, ...choices(schema)];
  const first = (...names) => inner.flatMap((each) => names.map((name) => each[name])).find((value) => value !== undefined);
  const low = first("minimum", "exclusiveMinimum"), high = first("maximum", "exclusiveMaximum");
  const most = first("maxLength"), items = first("maxItems"), usual = first("default");
  return [
    low === undefined && high === undefined ? "" : `${low ?? "…"} to ${high ?? "…"}`,
    most === undefined ? "" : `at most ${most} characters`,
    items === undefined ? "" : `at most ${items}`,
    usual === undefined || usual === null || usual === "" ? "" : `default ${JSON.stringify(usual)}`,
  ].filter(Boolean).join("; ");
}

const meaning = (schema) => line(schema.description ?? choices(schema).find((each) => each.description)?.description);

// Tables of a shape's fields, and of the shapes that are written out within it.
function fields(schema, title = "") {
  const several = choices(schema).filter((each) => each.properties || choices(each).length);
  if (!schema.properties) return several.flatMap((each) => fields(each, each.title));
  const needed = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, field]) =>
    [code(needed.has(name) ? `${name} *` : name), kind(field), limits(field), meaning(field)]);
  const within = Object.values(schema.properties).filter((field) => field.properties);
  return [title ? node("h3", { textContent: title }) : null, prose(schema.description),
    table(["field", "kind", "", "meaning"], rows), ...within.flatMap((field) => fields(field, field.title))];
}

function content(holder) {
  return Object.entries(holder?.content ?? {}).flatMap(([type, { schema, example, examples }]) => {
    const shown = example ?? Object.values(examples ?? {})[0]?.value;
    return [
      node("p", {}, code(type), schema?.$ref ? [": ", ...kind(schema)] : null),
      shown === undefined ? null : node("pre", { textContent: JSON.stringify(shown, null, 2) }),
      ...fields(schema ?? {}),
    ];
  });
}

// The headers of an answer, each a link to what it means.
function listed(names) {
  if (!names.length) return null;
  const links = names.map((name) => node("a", { href: `#${name}`, textContent: name }));
  return node("span", { className: "soft headers" }, " Headers: ", links.flatMap((link, at) => at ? [", ", link] : [link]));
}

function answers(api, responses) {
  return Object.entries(responses).flatMap(([status, answer]) => {
    const said = resolve(api, answer);
    const told = node("p", {}, node("b", { className: "mono", textContent: status }), " ", line(said.description),
      listed(Object.keys(said.headers ?? {})));
    return Number(status) >= 400 ? [told] : [told, ...content(said)];
  });
}

function operation(api, path, verb, said) {
  const inputs = (said.parameters ?? []).map((each) => resolve(api, each));
  const rows = inputs.map((each) => [code(each.required ? `${each.name} *` : each.name), each.in,
    kind(each.schema ?? {}), limits(each.schema ?? {}), line(each.description)]);
  const body = resolve(api, said.requestBody);
  return node("details", { className: "sheet operation", id: said.operationId ?? "" },
    node("summary", {}, node("span", { className: `verb mono ${verb}`, textContent: verb.toUpperCase() }),
      code(path), node("span", { className: "soft", textContent: said.summary ?? "" })),
    node("div", { className: "inside" }, prose(said.description),
      rows.length ? node("h3", { textContent: "Parameters" }) : null,
      table(["name", "in", "kind", "", "meaning"], rows),
      body.content ? node("h3", { textContent: "Body" }) : null, content(body),
      node("h3", { textContent: "Answers" }), answers(api, said.responses ?? {})));
}

function shape(name, schema) {
  return node("details", { className: "sheet", id: name }, node("summary", {}, code(name)),
    node("div", { className: "inside" }, fields(schema)));
}

function groups(api) {
  const found = new Map((api.tags ?? []).map((tag) => [tag.name, { said: tag.description, parts: [] }]));
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const verb of VERBS) {
      if (!verbs[verb]) continue;
      const name = verbs[verb].tags?.[0] ?? "More";
      if (!found.has(name)) found.set(name, { said: "", parts: [] });
      found.get(name).parts.push(operation(api, path, verb, verbs[verb]));
    }
  }
  return found;
}

function headers(api) {
  const rows = Object.entries(api.components?.headers ?? {}).map(([name, said]) =>
    [node("code", { id: name, textContent: name }), line(said.description), code(said.schema?.examples?.[0] ?? "")]);
  return rows.length ? [node("h2", { textContent: "Headers of answers" }), table(["header", "meaning", "such as"], rows)] : [];
}

// What is sent to those who asked to be told.
function webhooks(api) {
  const sent = Object.entries(api.webhooks ?? {}).flatMap(([name, verbs]) =>
    Object.entries(verbs).map(([verb, said]) => operation(api, name, verb, said)));
  return sent.length ? [node("h2", { textContent: "Webhooks" }), ...sent] : [];
}

function lay(api) {
  document.getElementById("version").textContent = api.info.version;
  const parts = [prose(api.info.description)];
  for (const [name, { said, parts: operations }] of groups(api)) {
    if (operations.length) parts.push(node("h2", { textContent: name }), prose(said), ...operations);
  }
  const shapes = Object.entries(api.components?.schemas ?? {}).filter(([, schema]) => schema.properties);
  parts.push(...webhooks(api), ...headers(api),
    node("h2", { textContent: "Shapes" }), ...shapes.map(([name, schema]) => shape(name, schema)));
  manual.replaceChildren(...parts.filter(Boolean));
}

// Whatever an address points to is open and in view.
function reveal() {
  const wanted = document.getElementById(location.hash.slice(1));
  wanted?.setAttribute("open", "");
  wanted?.scrollIntoView();
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`openapi.json: the server answered ${response.status}`);
  lay(await response.json());
  reveal();
  addEventListener("hashchange", reveal);
} catch (error) {
  manual.replaceChildren(node("p", { className: "note", textContent: error.message }));
}
