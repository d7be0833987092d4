// What an app does before and after a model, as a bundle's preprocess.json says: pixels or word-piece ids into the
// inputs' tensors, and stored outputs into scores. No dependencies; decoding pictures is the app's own.

const ARRAYS = {
  float32: Float32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: globalThis.BigInt64Array,
};
const LIMITS = { int8: [-128, 127], uint8: [0, 255] };
const PRECISION = 22; // bits behind the point of Pillow's 8-bit filter weights

/**
 * @typedef {{data: ArrayLike<number>, width: number, height: number}} Picture RGBA bytes, row by row, as of a canvas
 * @typedef {{name: string, dtype: string, shape: number[], data: any}} Tensor `data`: a typed array
 */

/**
 * A picture as the model's input: resized, alpha dropped, in the input's layout, through its quantization.
 * @param {any} settings preprocess.json, of one file, `image`
 * @param {Picture} picture turned as its EXIF orientation says
 * @returns {Tensor}
 */
export function imageTensor(settings, picture) {
  const { width, height, layout, quantization, dtype, shape, input: name } = settings;
  if (settings.resize.filter !== "bilinear" || settings.resize.keep_aspect || settings.colour !== "RGB") {
    throw new Error("preprocess.json: expected RGB, resized bilinearly without keeping the aspect");
  }
  const pixels = resized(picture, width, height);
  const data = array(dtype, pixels.length);
  const plane = width * height;
  for (let place = 0; place < plane; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const to = layout === "NCHW" ? channel * plane + place : 3 * place + channel;
      data[to] = quantization ? stored(pixels[3 * place + channel], quantization, dtype) : pixels[3 * place + channel];
    }
  }
  return { name, dtype, shape, data };
}

/**
 * Word-piece ids, special tokens included, as the model's inputs: cut or padded, with their mask.
 * @param {any} settings preprocess.json, of one file, `text`
 * @param {number[]} ids
 * @returns {Tensor[]}
 */
export function textTensors(settings, ids) {
  const { sequence_length: length, special_tokens: special, inputs } = settings;
  const kept = ids.length > length ? [...ids.slice(0, length - 1), ids[ids.length - 1]] : ids;
  return inputs.map(({ name, content, dtype, shape }) => {
    const data = array(dtype, length);
    const put = dtype === "int64" ? BigInt : Number;
    if (content === "input_ids") {
      data.fill(put(special.pad.id));
      kept.forEach((id, place) => {
        data[place] = put(id);
      });
    } else if (content === "attention_mask") {
      data.fill(put(1), 0, kept.length);
    } else if (content !== "token_type_ids") {
      throw new Error(`preprocess.json: input ${name} takes ${content}, which is not known`);
    }
    return { name, dtype, shape, data };
  });
}

/**
 * Real scores of a stored output.
 * @param {any} output preprocess.json, of one file, one of `outputs`
 * @param {ArrayLike<number>} data
 * @returns {Float32Array}
 */
export function realScores(output, data) {
  const { quantization } = output;
  if (!quantization) {
    return Float32Array.from(data);
  }
  const scale = Math.fround(quantization.scale);
  return Float32Array.from(data, (value) => (value - quantization.zero_point) * scale);
}

/**
 * Labels with their scores, the best first; of equal scores the first label first.
 * @param {string[]} labels
 * @param {ArrayLike<number>} scores
 */
export function ranked(labels, scores) {
  return labels.map((label, place) => ({ label, score: scores[place] })).sort((a, b) => b.score - a.score);
}

/**
 * RGB bytes [height, width, 3] of a picture, as Pillow's Image.resize(..., BILINEAR) gives them: a triangle filter that
 * widens where it makes smaller, first along rows, then along columns, rounded to 8 bits after each. To the bit, but
 * where Pillow (from 13 on) goes along columns first because that is less work: there single values differ by one.
 * @param {Picture} picture
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array}
 */
export function resized(picture, width, height) {
  const rgb = new Uint8Array(3 * picture.width * picture.height);
  for (let place = 0; place < picture.width * picture.height; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      rgb[3 * place + channel] = picture.data[4 * place + channel];
    }
  }
  const rows = picture.width === width ? rgb : filtered(rgb, picture.width, width, picture.height, 3, 3 * picture.width);
  return picture.height === height ? rows : filtered(rows, picture.height, height, width, 3 * width, 3);
}

// One pass along an axis: `step` between neighbours on it, `across` between the `lines` beside each other.
function filtered(source, from, to, lines, step, across) {
  const along = step === 3;
  const result = new Uint8Array(3 * to * lines);
  weights(from, to).forEach(({ first, values }, place) => {
    for (let line = 0; line < lines; line += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 1 << (PRECISION - 1);
        for (let tap = 0; tap < values.length; tap += 1) {
          sum += source[line * across + (first + tap) * step + channel] * values[tap];
        }
        const target = along ? 3 * (line * to + place) : 3 * (place * lines + line);
        result[target + channel] = Math.min(255, Math.max(0, sum >> PRECISION));
      }
    }
  });
  return result;
}

// For each of `to` places: the first of `from` that counts, and whole-numbered weights (Pillow's Resample.c).
function weights(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const real = Array.from({ length: end - first }, (__, tap) => {
      return Math.max(0, 1 - Math.abs((tap + first - centre + 0.5) * (1 / support)));
    });
    const sum = real.reduce((total, weight) => total + weight, 0);
    return { first, values: real.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** PRECISION)) };
  });
}

// A pixel in an 8-bit tensor: rounded to nearest even, as numpy's rint, and saturated.
function stored(pixel, { scale, zero_point: zero }, dtype) {
  const value = Math.fround(pixel / Math.fround(scale));
  const below = Math.floor(value);
  const up = value - below > 0.5 || (value - below === 0.5 && below % 2 !== 0);
  const [lowest, highest] = LIMITS[dtype];
  return Math.min(highest, Math.max(lowest, below + Number(up) + zero));
}

function array(dtype, length) {
  if (!ARRAYS[dtype]) {
    throw new Error(`preprocess.json: dtype ${dtype} is not known`);
  }
  return new ARRAYS[dtype](length);
}
