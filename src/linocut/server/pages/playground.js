// The playground: a form, the call it makes, and what the call answers. It talks to the public API
// only. The key lives in its input and nowhere else.
import { taught } from "/pages/repertoire.js";
import { events } from "/pages/sse.js";

const MODEL = "black-forest-labs/flux-2-dev";
const $ = (id) => document.getElementById(id);
const form = $("form");
let drawing = null; // { uuid, stop: AbortController } while a picture is on its way

function promptObject(imageUrl) {
  const fields = { prompt: $("prompt").value, aspect_ratio: $("aspect_ratio").value,
    megapixels: $("megapixels").value, num_inference_steps: Number($("num_inference_steps").value),
    guidance: Number($("guidance").value), output_format: $("output_format").value };
  if ($("seed").value !== "") fields.seed = Number($("seed").value);
  if ($("go_fast").checked) fields.go_fast = true;
  if (imageUrl) {
    fields.imageUrl = imageUrl;
    fields.prompt_strength = Number($("prompt_strength").value);
  }
  return fields;
}

function body(imageUrl) {
  return { type: "IMAGE_GENERATOR", model: MODEL, promptObject: promptObject(imageUrl) };
}

function showCall(imageUrl = $("reference").files.length ? "<key of the uploaded picture>" : "") {
  const json = JSON.stringify(body(imageUrl), null, 2).replaceAll("'", "'\\''");
  $("strength").hidden = !$("reference").files.length;
  $("curl").textContent = `curl --location '${location.origin}/api/features' \\
--header 'API-KEY: <api-key>' \\
--header 'Content-Type: application/json' \\
--data '${json}'`;
}

function say(text) { $("status").textContent = text; }

function progress(value) {
  $("progress").hidden = value === null;
  if (value === undefined) $("progress").removeAttribute("value");
  else if (value !== null) $("progress").value = value;
}

function frame(source, alt, preview = false) {
  const image = document.createElement("img");
  image.src = source;
  image.alt = alt;
  if (preview) image.className = "preview";
  $("frame").replaceChildren(image);
}

function facts(pairs) {
  const nodes = [];
  for (const [name, value] of pairs) {
    if (value === undefined || value === null || value === "") continue;
    const term = document.createElement("dt"), meaning = document.createElement("dd");
    term.textContent = name;
    meaning.append(value);
    nodes.push(term, meaning);
  }
  $("facts").replaceChildren(...nodes);
}

// The address as seen from here: behind a proxy the signed one may name another host.
function near(address) {
  const url = new URL(address, location.href);
  return url.pathname + url.search;
}

async function problem(response) {
  const text = await response.text();
  try {
    const said = JSON.parse(text);
    return [said.message ?? said.detail ?? text, said.hint].filter(Boolean).join(" ");
  } catch { return text || `The server answered ${response.status}.`; }
}

function headers(more = {}) {
  const key = $("key").value.trim();
  return key ? { "API-KEY": key, ...more } : more;
}

async function upload(file) {
  const data = new FormData();
  data.append("asset", file);
  const response = await fetch("/api/assets", { method: "POST", headers: headers(), body: data });
  if (!response.ok) throw new Error(await problem(response));
  return (await response.json()).fileContent.path;
}

const seconds = (left) => left >= 90 ? `${Math.round(left / 60)} min` : `${Math.max(1, Math.round(left))} s`;

const TELL = {
  queued: ({ place }) => { progress(undefined); say(place ? `Waiting: number ${place} in the queue.` : "Waiting."); },
  started: () => { progress(undefined); say("Reading the prompt…"); },
  progress: ({ stage, step, steps, left }) => {
    if (stage === "decoding") say("Finishing the picture…");
    if (stage !== "drawing") return;
    progress(step / steps);
    say(`Step ${step} of ${steps}${left > 0 ? `, about ${seconds(left)} left` : ""}`);
  },
  preview: ({ image }) => frame(image, "Preview of the picture", true),
  completed: ({ aiRecord }) => done(aiRecord),
  failed: ({ error }) => { throw new Error([error?.message ?? "It could not be drawn.", error?.hint].filter(Boolean).join(" ")); },
  canceled: () => { progress(null); say("Canceled."); },
};
const ENDINGS = new Set(["completed", "failed", "canceled"]);

function done(record) {
  const { metadata = {}, temporaryUrl, aiRecordDetail } = record;
  frame(near(temporaryUrl), aiRecordDetail.promptObject.prompt);
  progress(null);
  say("Done.");
  const link = document.createElement("a");
  link.href = near(temporaryUrl);
  link.textContent = aiRecordDetail.resultObject[0].split("/").pop();
  link.target = "_blank";
  const took = metadata.seconds === undefined ? undefined : `${Number(metadata.seconds).toFixed(1)} s`;
  facts([["File", link], ["Seed", metadata.seed === undefined ? undefined : String(metadata.seed)],
    ["Size", metadata.width && `${metadata.width} × ${metadata.height}`], ["Mode", metadata.mode],
    ["Checkpoint", metadata.checkpoint], ["Took", took], ["Notes", (metadata.warnings ?? []).join("; ")]]);
  $("demo").hidden = !metadata.demo;
  $("demo").textContent = `Drawn by the demo checkpoint ${metadata.checkpoint ?? ""}: it knows small, simple things ` +
    `("a red apple", "a cat face, blue background", "a rocket in black and white"). Full weights draw anything.`;
}

// Reads one stream to its end; returns whether the record ended, and the last id that was seen.
async function follow(response, seen) {
  for await (const { event, data, id } of events(response.body)) {
    if (id) seen = id;
    const said = JSON.parse(data);
    if (said.uuid) drawing.uuid = said.uuid;
    if (event !== "shutdown") TELL[event]?.(said);
    if (ENDINGS.has(event)) return { over: true, seen };
  }
  return { over: false, seen };
}

async function resume(seen, signal) {
  await new Promise((wake) => setTimeout(wake, 2000));
  const response = await fetch(`/api/records/${drawing.uuid}/events`,
    { headers: headers(seen ? { "Last-Event-ID": seen } : {}), signal });
  if (!response.ok) throw new Error(await problem(response));
  return response;
}

async function draw() {
  const { signal } = drawing.stop;
  const [file] = $("reference").files;
  const imageUrl = file ? await upload(file) : "";
  showCall(imageUrl || undefined);
  let response = await fetch("/api/features?isStreaming=true", { method: "POST", signal,
    headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body(imageUrl)) });
  if (!response.ok) throw new Error(await problem(response));
  let state = { over: false, seen: "" };
  for (let tries = 0; !state.over && tries < 30; tries += 1) {
    if (tries) response = await resume(state.seen, signal);
    try { state = await follow(response, state.seen); } catch (error) {
      if (!(error instanceof TypeError) || signal.aborted || !drawing.uuid) throw error;
      say("The connection broke; picking it up again…");
    }
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (drawing) return;
  drawing = { uuid: "", stop: new AbortController() };
  $("draw").disabled = $("surprise").disabled = true;
  $("cancel").disabled = false;
  facts([]);
  progress(undefined);
  say("Sending…");
  try { await draw(); } catch (error) {
    progress(null);
    say(error.message);
  } finally {
    drawing = null;
    $("draw").disabled = $("surprise").disabled = false;
    $("cancel").disabled = true;
  }
});

$("cancel").addEventListener("click", async () => {
  if (!drawing?.uuid) return;
  const response = await fetch(`/api/records/${drawing.uuid}/cancel`, { method: "POST", headers: headers() });
  if (!response.ok) say(await problem(response));
});

$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("curl").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});

form.addEventListener("input", () => showCall());
showCall();
taught($("prompt"), () => form.requestSubmit());
