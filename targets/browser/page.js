// Runs one model file in this page: opened by its runtime, fed with real inputs, timed one inference at a time.
// `targets/runners/browser.py` calls the functions of `edgepress`; all that they need lies beside this page.

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

const RUNTIMES = { onnxruntime: startOnnxRuntime, litert: startLiteRt };

// What runtimes write when they refuse a file: the exception itself often names no reason.
const said = [];
for (const level of ["warn", "error"]) {
  console[level] = (...words) => said.push(words.join(" "));
}

let openFile; // bytes -> model
let model; // {run(feed) -> [{name, dtype, shape, data}]}
let bytes;
let feeds; // [{name, dtype, shape, data}] of each sample

async function startOnnxRuntime(threads) {
  const ort = await import("./runtimes/onnxruntime-web/dist/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = threads;
  // WebAssembly is loaded with the first session, which need not succeed: it is no part of opening a file.
  await ort.InferenceSession.create(new Uint8Array(1)).catch(() => {});
  said.length = 0;
  return async (file) => {
    const settings = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    const session = await ort.InferenceSession.create(file, settings);
    return {
      async run(feed) {
        const given = feed.map(({ name, dtype, shape, data }) => [name, new ort.Tensor(dtype, data, shape)]);
        const found = await session.run(Object.fromEntries(given));
        return session.outputNames.map((name) => {
          const { type, dims, data } = found[name];
          return { name, dtype: type, shape: dims, data };
        });
      },
    };
  };
}

async function startLiteRt(threads) {
  const litert = await import("./runtimes/@litertjs/core/dist/index.js");
  const folder = new URL("runtimes/@litertjs/core/wasm/", location.href).href;
  await litert.loadLiteRt(folder, { threads: threads > 1 });
  return async (file) => {
    const settings = { accelerator: "wasm", cpuOptions: { numThreads: threads } };
    const compiled = await litert.loadAndCompile(file, settings);
    const outputs = compiled.getOutputDetails();
    return {
      async run(feed) {
        const given = feed.map(({ name, shape, data }) => [name, new litert.Tensor(data, shape)]);
        const found = await compiled.run(Object.fromEntries(given));
        const told = outputs.map(({ name, dtype, shape }) => {
          return { name, dtype, shape: [...shape], data: found[name].toTypedArray() };
        });
        for (const tensor of [...given.map(([, tensor]) => tensor), ...Object.values(found)]) {
          tensor.delete();
        }
        return told;
      },
    };
  };
}

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

// A runtime's exception in words, with what it wrote before it gave up.
function reason(error) {
  const own = error instanceof Error ? error.message : String(error);
  return [own, ...said.slice(-2)].join(" | ");
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
