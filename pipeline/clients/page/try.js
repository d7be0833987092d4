// The page of `edgepress try`: a picture or a text goes in, what each file of the bundle says of it comes out.

import { classify, decoded, goldenInput, openFile, readBundle } from "./bundle.js";

const SHOWN = 5; // labels of each file
const RUNS = 5; // of which the median is shown
const PAUSE = 250; // milliseconds after the last letter

const byId = (id) => document.getElementById(id);
let bundle;
const files = [];
let last = 0; // number of the newest input: what was asked before it is not shown any more
let work; // what is under way; from the start, the opening of the files

function element(kind, classes, text) {
  const made = document.createElement(kind);
  made.className = classes;
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
}

function percent(score) {
  return `${(100 * score).toFixed(1)}%`;
}

function card(file) {
  const made = element("section", "card");
  made.dataset.file = file.name;
  made.append(element("h2", "", file.name));
  made.append(element("p", "muted", `${file.client}, ${(file.bytes / 1e6).toFixed(2)} MB`));
  made.append(element("div", "answer"));
  return made;
}

function showAnswer(file, found) {
  const answer = document.querySelector(`[data-file="${CSS.escape(file.name)}"] .answer`);
  answer.replaceChildren();
  if (found.refused) {
    answer.append(element("p", "refused", `It can't be run here: ${found.refused}`));
    return;
  }
  answer.append(element("p", "label", found.ranked[0].label));
  const list = element("ol", "scores");
  for (const { label, score } of found.ranked.slice(0, SHOWN)) {
    const line = element("li", "");
    const bar = element("progress", "");
    bar.max = 1;
    bar.value = score;
    bar.setAttribute("aria-label", label);
    line.append(element("span", "name", label), bar, element("span", "score", percent(score)));
    list.append(line);
  }
  answer.append(list);
  const times = element("p", "times");
  times.append(element("b", "", milliseconds(found.inference)), " inference, ");
  times.append(element("b", "", milliseconds(found.preparing)), " preparing the input");
  answer.append(times);
}

function showAgreement(answers) {
  const said = answers.filter(({ found }) => found.ranked);
  const labels = new Set(said.map(({ found }) => found.ranked[0].label));
  const place = byId("agreement");
  place.hidden = said.length < 2;
  place.className = labels.size === 1 ? "banner same" : "banner other";
  const count = said.length === 2 ? "Both" : `All ${said.length}`;
  place.textContent = labels.size === 1 ? `${count} files say the same` : "The files say different labels";
}

// Runs every file on one input and shows the answers, one input after the other; a first run of a file, which readies
// its kernels, is not shown.
function ask(make) {
  const number = (last += 1);
  byId("problem").hidden = true;
  work = work.then(() => (number === last ? answer(make, number) : undefined));
  return work;
}

async function answer(make, number) {
  let given;
  try {
    given = await make();
  } catch {
    forget();
    byId("problem").textContent = "This can't be read as a picture: choose a PNG, JPEG, WebP, GIF or BMP file.";
    byId("problem").hidden = false;
    return;
  }
  const answers = [];
  for (const file of files) {
    const found = await asked(file, given);
    if (number !== last) {
      return;
    }
    showAnswer(file, found);
    answers.push({ file, found });
  }
  showAgreement(answers);
}

async function asked(file, given) {
  if (file.refused) {
    return file;
  }
  try {
    if (!file.warm) {
      await classify(bundle, file, given);
      file.warm = true;
    }
    const runs = [];
    for (let run = 0; run < RUNS; run += 1) {
      runs.push(await classify(bundle, file, given));
    }
    const median = (name) => runs.map((run) => run[name]).sort((a, b) => a - b)[(RUNS - 1) / 2];
    return { ranked: runs[0].ranked, preparing: median("preparing"), inference: median("inference") };
  } catch (error) {
    return { refused: error.message };
  }
}

function askPicture(blob, name) {
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(blob);
  preview.hidden = false;
  byId("chosen").textContent = name;
  return ask(() => decoded(blob));
}

function takePictures() {
  const zone = byId("zone");
  const take = (list) => (list.length > 0 ? askPicture(list[0], list[0].name) : undefined);
  byId("picture").addEventListener("change", (event) => take(event.target.files));
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault(); // a drop beside the zone must not open the picture instead of this page
      zone.classList.toggle("over", kind === "dragover");
      if (kind === "drop") {
        take(event.dataTransfer.files);
      }
    });
  }
}

// Nothing is asked any more: no answer stands there.
function forget() {
  last += 1;
  byId("agreement").hidden = true;
  for (const place of document.querySelectorAll(".answer")) {
    place.replaceChildren();
  }
}

function takeTexts() {
  let timer;
  const text = byId("text");
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => (text.value.trim() ? ask(async () => text.value) : forget()), PAUSE);
  });
}

function sampleButton(sample, index) {
  const made = element("button", "sample");
  made.type = "button";
  made.title = `A test sample of the label ${sample.label}`;
  if (sample.image) {
    const image = element("img", "");
    image.src = `bundle/${sample.image}`;
    image.alt = `Test sample ${index + 1}, ${sample.label}`;
    made.append(image);
  } else {
    made.append(element("span", "", sample.text));
  }
  made.addEventListener("click", async () => {
    if (sample.image) {
      const blob = await (await fetch(`bundle/${sample.image}`)).blob();
      await askPicture(blob, `Test sample ${index + 1}, ${sample.label}`);
    } else {
      byId("text").value = sample.text;
      await ask(async () => sample.text);
    }
  });
  return made;
}

async function start() {
  bundle = await readBundle();
  document.title = `${bundle.recipe} for ${bundle.target}: try it`;
  byId("eyebrow").textContent = `edgepress ${bundle.edgepress}`;
  byId("title").textContent = `${bundle.recipe} for ${bundle.target}`;
  byId("description").textContent = bundle.description;
  byId(bundle.tokenizer ? "texts" : "pictures").hidden = false;
  byId("samples").append(...bundle.samples.map(sampleButton));
  byId("files").append(...bundle.files.map(card));
  for (const file of bundle.files) {
    const opened = await openFile(file, 1);
    files.push(opened);
    if (opened.refused) {
      showAnswer(file, opened);
    }
  }
  (bundle.tokenizer ? takeTexts : takePictures)();
  byId("state").textContent = "";
  document.body.classList.add("ready");
}

work = start().catch((error) => {
  byId("state").textContent = `The bundle can't be opened: ${error.message}`;
  throw error;
});

// What `pipeline/clients/browser.py` asks of this page.
globalThis.edgepress = {
  ready: work,

  // For every file: {name, client, labels of the golden samples} or {name, client, refused}.
  async golden() {
    const answers = [];
    for (const { name, client, refused, model, preprocess } of files) {
      const labels = [];
      let wrong = refused;
      for (let index = 0; !wrong && index < bundle.samples.length; index += 1) {
        try {
          const found = await classify(bundle, { model, preprocess }, await goldenInput(bundle, index));
          labels.push(found.ranked[0].label);
        } catch (error) {
          wrong = error.message;
        }
      }
      answers.push(wrong ? { name, client, refused: wrong } : { name, client, labels });
    }
    return answers;
  },

  // Ids of texts, cut to `length`.
  async tokens(texts, length) {
    return texts.map((text) => bundle.tokenizer.encodeCut(text, length));
  },
};
