// A bundle opened in a page: every file by its runtime, fed as preprocess.json says, with the bundle's own tokenizer.

import { imageTensor, ranked, realScores, textTensors } from "./app/preprocess.js";
import { openWordPiece } from "./app/wordpiece.js";
import { RUNTIMES, reason } from "./runtimes.js";

async function got(path) {
  const response = await fetch(path);
  if (!response.ok) {
    throw new Error(`${path}: status ${response.status}`);
  }
  return response;
}

/** What the page was told of its bundle: see `pipeline/clients/local_page.py`. */
export async function readBundle() {
  const told = await (await got("bundle.json")).json();
  const tokenizer = told.tokenizer ? openWordPiece(await (await got("bundle/tokenizer.json")).json()) : null;
  return { ...told, tokenizer };
}

const runtimes = new Map(); // by name: each is loaded once a page

function runtime(name, threads) {
  if (!runtimes.has(name)) {
    runtimes.set(name, RUNTIMES[name](threads));
  }
  return runtimes.get(name);
}

/** One file of the bundle, ready to run; `refused` says why it is not. */
export async function openFile(file, threads) {
  try {
    const open = await runtime(file.runtime, threads);
    const bytes = new Uint8Array(await (await got(`bundle/${file.name}`)).arrayBuffer());
    return { ...file, model: await open(bytes) };
  } catch (error) {
    return { ...file, refused: reason(error) };
  }
}

/** A picture file's pixels as RGBA, turned as its EXIF orientation says, colours as they are stored. */
export async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { data: context.getImageData(0, 0, width, height).data, width, height };
}

/** The bundle's golden sample `index`: a picture's pixels, or a text. */
export async function goldenInput(bundle, index) {
  const sample = bundle.samples[index];
  return sample.image ? decoded(await (await got(`bundle/${sample.image}`)).blob()) : sample.text;
}

/**
 * What one opened file says of a picture's pixels or of a text: labels, the best first, and milliseconds of making the
 * input and of the inference.
 */
export async function classify(bundle, file, given) {
  const start = performance.now();
  const feed = file.preprocess.image
    ? [imageTensor(file.preprocess.image, given)]
    : textTensors(file.preprocess.text, bundle.tokenizer.encode(given));
  const fed = performance.now();
  const outputs = await file.model.run(feed);
  const end = performance.now();
  const [output] = file.preprocess.outputs;
  const { data } = outputs.find(({ name }) => name === output.name) ?? outputs[0];
  return { ranked: ranked(bundle.labels, realScores(output, data)), preparing: fed - start, inference: end - fed };
}
