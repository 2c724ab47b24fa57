// What a demo checkpoint was taught, to press instead of to type. Full weights have no such list,
// and then nothing of this is shown.
const $ = (id) => document.getElementById(id);
const RETRY_MS = 2000; // while no worker has loaded its checkpoint yet

function any(of) { return of[Math.floor(Math.random() * of.length)]; }

function options(select, unsaid, values) {
  select.replaceChildren(...[unsaid, ...values].map((text, index) => new Option(text, index ? text : "")));
}

// The words for a thing in the style and on the background that are chosen just now.
function words(thing) {
  const style = $("taught_style").value, background = $("taught_background").value;
  return [thing, style && `${style} style`, background && `${background} background`].filter(Boolean).join(", ");
}

function groupOf(name, things, press) {
  const heading = document.createElement("h3"), list = document.createElement("div");
  heading.textContent = name;
  list.className = "chips";
  for (const thing of things) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = thing;
    chip.addEventListener("click", () => press(thing));
    list.append(chip);
  }
  return [heading, list];
}

function show({ checkpoint, repertoire }, ask) {
  const { things, styles, backgrounds } = repertoire, all = Object.values(things).flat();
  let chosen = "";
  const press = (thing) => { chosen = thing; ask(words(thing)); };
  options($("taught_style"), "as it likes", styles);
  options($("taught_background"), "as it likes", backgrounds);
  for (const id of ["taught_style", "taught_background"]) {
    $(id).addEventListener("change", () => { if (chosen) ask(words(chosen)); });
  }
  $("taught_count").textContent = `What ${checkpoint} can draw: ${all.length} things`;
  $("taught_things").replaceChildren(
    ...Object.entries(things).flatMap(([name, some]) => groupOf(name, some, press)));
  $("surprise").addEventListener("click", () => {
    $("taught_style").value = any(styles) ?? "";
    $("taught_background").value = any(backgrounds) ?? "";
    press(any(all));
  });
  $("taught").hidden = $("surprise").hidden = false;
}

// Shows the list as soon as a worker has loaded a checkpoint that has one; `ask` is given a prompt.
export async function taught(ask) {
  for (;;) {
    const answer = await fetch("/models");
    const [model] = answer.ok ? (await answer.json()).models : [];
    if (model?.repertoire) show(model, ask);
    if (model?.checkpoint) return;
    await new Promise((wake) => setTimeout(wake, RETRY_MS));
  }
}
