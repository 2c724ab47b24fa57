// The API's description, read from /openapi.json and laid out; nothing is written twice.
const VERBS = ["get", "post", "put", "patch", "delete", "head"];
const manual = document.getElementById("manual");

function node(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const prose = (text) => text
  ? node("div", {}, ...text.split(/\n\s*\n/).map((part) => node("p", { textContent: part.replaceAll("\n", " ") })))
  : null;

function table(titles, rows) {
  if (!rows.length) return null;
  const head = node("tr", {}, ...titles.map((title) => node("th", { textContent: title })));
  const lines = rows.map((row) => node("tr", {}, ...row.map((cell) =>
    node("td", {}, cell instanceof Node ? cell : String(cell ?? "")))));
  return node("table", {}, node("thead", {}, head), node("tbody", {}, ...lines));
}

const code = (text) => node("code", { textContent: text });

function resolve(api, schema) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.replace("#/", "").split("/").reduce((at, key) => at?.[key], api) ?? {};
}

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(kind).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  return [].concat(schema.type ?? "anything").join(" or ");
}

function limits(schema) {
  const said = [];
  const low = schema.minimum ?? schema.exclusiveMinimum, high = schema.maximum ?? schema.exclusiveMaximum;
  if (low !== undefined || high !== undefined) said.push(`${low ?? "…"} to ${high ?? "…"}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) said.push(`at most ${schema.maxItems}`);
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join("; ");
}

// The schemas that a field leads to, each once, so that a table follows for every name that is used.
function reached(api, schema, found = new Map()) {
  if (!schema || typeof schema !== "object") return found;
  if (schema.$ref) {
    const name = kind(schema);
    if (found.has(name)) return found;
    found.set(name, resolve(api, schema));
    return reached(api, found.get(name), found);
  }
  for (const value of Object.values(schema)) reached(api, value, found);
  return found;
}

function fields(schema) {
  const needed = new Set(schema.required ?? []);
  return table(["field", "kind", "", "meaning"], Object.entries(schema.properties ?? {}).map(([name, field]) =>
    [code(needed.has(name) ? `${name} *` : name), kind(field), limits(field), field.description ?? ""]));
}

function content(api, holder) {
  const parts = [];
  for (const [type, { schema, example, examples }] of Object.entries(holder?.content ?? {})) {
    parts.push(node("h3", { textContent: type }));
    for (const [name, each] of reached(api, schema)) {
      if (each.properties) parts.push(node("p", { className: "small mono", textContent: name }), fields(each));
    }
    if (schema?.properties) parts.push(fields(schema));
    const shown = example ?? Object.values(examples ?? {})[0]?.value;
    if (shown !== undefined) parts.push(node("pre", { textContent: JSON.stringify(shown, null, 2) }));
  }
  return parts;
}

function answers(api, responses) {
  return Object.entries(responses).flatMap(([status, answer]) => {
    const said = resolve(api, answer);
    const problem = Number(status) >= 400;
    const line = node("p", {}, code(status), ` ${said.description ?? ""}`);
    return problem ? [line] : [line, ...content(api, said)];
  });
}

function operation(api, path, verb, said) {
  const inputs = (said.parameters ?? []).map((each) => resolve(api, each));
  const rows = inputs.map((each) => [code(each.required ? `${each.name} *` : each.name), each.in,
    kind(each.schema ?? {}), limits(each.schema ?? {}), each.description ?? ""]);
  const body = resolve(api, said.requestBody);
  return node("details", { className: "sheet", id: said.operationId ?? "" },
    node("summary", {}, node("span", { className: `verb mono ${verb}`, textContent: verb.toUpperCase() }),
      code(path), node("span", { className: "soft", textContent: said.summary ?? "" })),
    node("div", { className: "inside" }, prose(said.description),
      rows.length ? node("h3", { textContent: "Parameters" }) : null,
      table(["name", "in", "kind", "", "meaning"], rows),
      body.content ? node("h3", { textContent: "Body" }) : null, ...content(api, body),
      node("h3", { textContent: "Answers" }), ...answers(api, said.responses ?? {})));
}

function groups(api) {
  const found = new Map((api.tags ?? []).map((tag) => [tag.name, { said: tag.description, parts: [] }]));
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const verb of VERBS) {
      if (!verbs[verb]) continue;
      const name = verbs[verb].tags?.[0] ?? "more";
      if (!found.has(name)) found.set(name, { said: "", parts: [] });
      found.get(name).parts.push(operation(api, path, verb, verbs[verb]));
    }
  }
  return found;
}

function lay(api) {
  document.getElementById("version").textContent = api.info.version;
  const parts = [prose(api.info.description)];
  for (const [name, { said, parts: operations }] of groups(api)) {
    if (operations.length) parts.push(node("h2", { textContent: name }), prose(said), ...operations);
  }
  manual.replaceChildren(...parts.filter(Boolean));
  document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`openapi.json: the server answered ${response.status}`);
  lay(await response.json());
} catch (error) {
  manual.replaceChildren(node("p", { className: "note", textContent: error.message }));
}
