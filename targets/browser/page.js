// Runs one model file in this page: opened by its runtime, fed with real inputs, timed one inference at a time.
// `targets/runners/browser.py` calls the functions of `edgepress`; all that they need lies beside this page.

import { RUNTIMES, reason } from "./runtimes.js";

const REFERENCE_TERMS = 200_000; // some 0.3 ms, so that the clock's 5 microseconds do not matter

const ARRAYS = {
  float32: Float32Array,
  float16: globalThis.Float16Array ?? Uint16Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

let openFile; // bytes -> model
let model; // {run(feed) -> [{name, dtype, shape, data}]}
let bytes;
let feeds; // [{name, dtype, shape, data}] of each sample

async function load(path) {
  const response = await fetch(path);
  if (!response.ok) {
    throw new Error(`${path}: status ${response.status}`);
  }
  return response.arrayBuffer();
}

function base64(data) {
  const octets = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = "";
  for (let begin = 0; begin < octets.length; begin += 8192) {
    text += String.fromCharCode(...octets.subarray(begin, begin + 8192));
  }
  return btoa(text);
}

// Milliseconds of a chain of additions each of which waits for the one before: see targets/runners/pace.py.
function reference() {
  const start = performance.now();
  let sum = 0;
  for (let term = 0; term < REFERENCE_TERMS; term += 1) {
    sum += 1.1;
  }
  const taken = performance.now() - start;
  if (sum < REFERENCE_TERMS) {
    throw new Error("additions that add nothing");
  }
  return taken;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function told(action) {
  return async (...given) => {
    try {
      return { answer: await action(...given) };
    } catch (error) {
      return { refused: reason(error) };
    }
  };
}

globalThis.edgepress = {
  // Loads the runtime, the file and all samples; opens nothing yet. `inputs`: name, dtype and shape of each.
  start: told(async (runtime, threads, inputs, samples) => {
    if (!crossOriginIsolated) {
      throw new Error("the page is not isolated from other origins, so it has neither threads nor a fine clock");
    }
    openFile = await RUNTIMES[runtime](threads);
    bytes = new Uint8Array(await load("model"));
    feeds = [];
    for (let sample = 0; sample < samples; sample += 1) {
      const read = inputs.map(async ({ name, dtype, shape }, place) => {
        return { name, dtype, shape, data: new ARRAYS[dtype](await load(`feeds/${sample}/${place}`)) };
      });
      feeds.push(await Promise.all(read));
    }
  }),

  // Opens the file and runs the first sample; returns the milliseconds of both.
  open: told(async () => {
    const start = performance.now();
    model = await openFile(bytes);
    await model.run(feeds[0]);
    return performance.now() - start;
  }),

  outputs: told(async (sample) => {
    const found = await model.run(feeds[sample]);
    return found.map(({ data, ...told }) => ({ ...told, base64: base64(data) }));
  }),

  // Times up to `runs` inferences, no more than `seconds` long but at least one. `done`: how many there were before,
  // which says whose turn it is, and when the reference work is: before every `every` of them. `pace`: milliseconds
  // from one to the next, or null.
  measure: told(async (runs, seconds, done, every, pace) => {
    const samples = [];
    const references = [];
    const begin = performance.now();
    let next = begin;
    let late = 0;
    while (samples.length < runs && (samples.length === 0 || performance.now() - begin < seconds * 1e3)) {
      const turn = done + samples.length;
      if (turn % every === 0) {
        references.push(reference());
      }
      if (pace !== null) {
        const wait = next - performance.now();
        late += wait < 0 && samples.length > 0;
        if (wait > 0) {
          await pause(wait);
        } else {
          next = performance.now();
        }
        next += pace;
      }
      const start = performance.now();
      await model.run(feeds[turn % feeds.length]);
      samples.push(performance.now() - start);
    }
    return { samples, references, late };
  }),
};
