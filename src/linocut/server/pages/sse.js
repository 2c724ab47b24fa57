// Server-sent events of a fetch: EventSource cannot send an API key.

// Yields { event, data, id } as each one is complete.
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const found = parse(block);
        if (found.data) yield found;
      }
    }
  } finally { reader.cancel().catch(() => {}); }
}

function parse(block) {
  const found = { event: "message", data: "", id: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) continue; // a comment, or nothing
    const name = line.slice(0, colon), value = line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") found.data += (found.data && "\n") + value;
    else if (name in found) found[name] = value;
  }
  return found;
}
