// Runs the compiled preprocessing of a bundle's examples: samples as JSON on stdin, what they became on stdout.
import { pathToFileURL } from "node:url";

let text = "";
for await (const part of process.stdin.setEncoding("utf8")) {
  text += part;
}
const asked = JSON.parse(text);
const made = await import(pathToFileURL(asked.module).href);
const plain = (tensor) => Array.from(tensor, Number);
const tokenizer = asked.vocabulary === null ? null : new made.WordPiece(asked.vocabulary);

function answer(sample) {
  if (sample.text !== undefined) {
    const ids = tokenizer.encode(sample.text);
    const files = asked.files.map((file) => {
      const inputs = Object.entries(made[`${file}Inputs`](ids));
      return Object.fromEntries(inputs.map(([name, tensor]) => [name, plain(tensor)]));
    });
    return { ids, files };
  }
  const pixels = made.pixelsOf(new Uint8Array(Buffer.from(sample.pixels, "base64")), sample.width, sample.height);
  return { pixels: plain(pixels), files: asked.files.map((file) => plain(made[`${file}Input`](pixels))) };
}

process.stdout.write(JSON.stringify(asked.samples.map(answer)));
