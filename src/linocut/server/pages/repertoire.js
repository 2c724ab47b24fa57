// What a demo checkpoint was taught, to press instead of to type. Full weights have no such list,
// and then nothing of this is shown.
const $ = (id) => document.getElementById(id);
const FIRST_WAIT_MS = 2000, LONGEST_WAIT_MS = 30000; // while no worker has loaded its checkpoint

function any(of) { return of[Math.floor(Math.random() * of.length)]; }

function options(select, values) {
  select.replaceChildren(new Option("as it likes", ""), ...values.map((text) => new Option(text)));
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
  list.role = "group";
  list.ariaLabel = name;
  for (const thing of things) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = thing;
    chip.addEventListener("click", () => press(thing));
    list.append(chip);
  }
  return [heading, list];
}

// prompt: of the page. draw: draws what stands there.
function show({ checkpoint, repertoire: { things, styles, backgrounds } }, prompt, draw) {
  const all = Object.values(things).flat();
  let thing = prompt.value, asked = prompt.value;
  const ask = () => {
    asked = prompt.value = words(thing);
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    $("taught_said").textContent = `Put into the prompt: ${asked}`;
  };
  const press = (chosen) => { thing = chosen; ask(); };
  options($("taught_style"), styles);
  options($("taught_background"), backgrounds);
  for (const id of ["taught_style", "taught_background"]) {
    $(id).addEventListener("change", () => {
      if (prompt.value === asked) ask(); // what somebody typed stays
      else $("taught_said").textContent = "The prompt is your own, and stays; press a thing to replace it.";
    });
  }
  $("taught_count").textContent = `What ${checkpoint} can draw: ${all.length} things`;
  $("taught_things").replaceChildren(
    ...Object.entries(things).flatMap(([name, some]) => groupOf(name, some, press)));
  $("surprise").addEventListener("click", () => {
    $("taught_style").value = any(styles) ?? "";
    $("taught_background").value = any(backgrounds) ?? "";
    press(any(all));
    draw();
  });
  $("taught").hidden = $("surprise").hidden = false;
}

async function served() {
  try {
    const answer = await fetch("/models");
    return answer.ok ? (await answer.json()).models[0] : undefined;
  } catch { return undefined; } // away, or something between that answers for it: asked again
}

// Shows the list as soon as a worker has loaded a checkpoint that has one.
export async function taught(prompt, draw) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    const model = await served();
    if (model?.repertoire) show(model, prompt, draw);
    if (model?.checkpoint) return;
    await new Promise((wake) => setTimeout(wake, wait));
  }
}
