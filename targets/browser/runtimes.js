// Opens model files in this page: onnxruntime-web and LiteRT.js, both in WebAssembly.

const ONNX_RUNTIME = "./runtimes/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
const LITERT = "./runtimes/@litertjs/core/dist/index.js";

// By the profile's name: threads -> a function that opens a file's bytes as {run(feed) -> [{name, dtype, shape, data}]},
// where a feed is a list of {name, dtype, shape, data}.
export const RUNTIMES = { onnxruntime: startOnnxRuntime, litert: startLiteRt };

// What runtimes write when they refuse a file: the exception itself often names no reason.
const said = [];
for (const level of ["warn", "error"]) {
  console[level] = (...words) => said.push(words.join(" "));
}

// A runtime's exception in words, with what it wrote before it gave up.
export function reason(error) {
  const own = error instanceof Error ? error.message : String(error);
  return [own, ...said.slice(-2)].join(" | ");
}

async function startOnnxRuntime(threads) {
  const ort = await import(ONNX_RUNTIME);
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
  const litert = await import(LITERT);
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
