// Word pieces as a bundle's tokenizer.json makes them: BERT's normalisation, its split into words, WordPiece.
//
// The reference is Hugging Face tokenizers (BertNormalizer, BertPreTokenizer, WordPiece); golden/tokens.json of a bundle
// holds texts and the ids that must come out. No dependencies. Classes of characters are those of the engine's Unicode,
// tokenizers' are older: of 1,112,064 characters 671 (by Unicode 17), all of rare scripts or newer than Unicode 8, are
// split otherwise.

const CHINESE = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];
const SPACE = /^\p{White_Space}$/u;
const CONTROL = /^[\p{Cc}\p{Cf}\p{Co}\p{Cs}]$/u;
const ACCENT = /^\p{Mn}$/u;
const PUNCTUATION = /^[!-/:-@[-`{-~\p{P}]$/u;

/**
 * @typedef {object} WordPiece
 * @property {(text: string) => number[]} encode ids of a text, special tokens around it, as long as the text needs
 * @property {(text: string, length: number) => number[]} encodeCut the same, no more than `length`: the first ones and
 *   the last special token
 */

/**
 * A tokenizer for the content of a tokenizer.json. Throws an Error for one that is not BERT's WordPiece.
 * @param {any} content
 * @returns {WordPiece}
 */
export function openWordPiece(content) {
  const { normalizer, model, added_tokens: added = [] } = content;
  expect("model", model?.type, "WordPiece");
  expect("pre_tokenizer", content.pre_tokenizer?.type, "BertPreTokenizer");
  if (normalizer) {
    expect("normalizer", normalizer.type, "BertNormalizer");
  }
  const around = specialTokens(content.post_processor);
  const vocabulary = new Map(Object.entries(model.vocab));
  const raw = addedTokens(added.filter((token) => !token.normalized));
  const late = addedTokens(added.filter((token) => token.normalized));

  function encode(text) {
    const ids = [...around.before];
    for (const part of splitAt(text, raw)) {
      if (typeof part === "number") {
        ids.push(part);
        continue;
      }
      for (const piece of splitAt(normalised(part, normalizer), late)) {
        if (typeof piece === "number") {
          ids.push(piece);
        } else {
          for (const word of words(piece)) {
            pushPieces(ids, word, model, vocabulary);
          }
        }
      }
    }
    ids.push(...around.after);
    return ids;
  }

  return {
    encode,
    encodeCut(text, length) {
      const ids = encode(text);
      const { after } = around;
      return ids.length <= length ? ids : [...ids.slice(0, length - after.length), ...after];
    },
  };
}

/**
 * A text as BertNormalizer leaves it: cleaned, spaces around Chinese characters, without accents, in lower case.
 * @param {string} text
 * @param {any} settings of the normalizer in tokenizer.json; null: the text itself
 */
export function normalised(text, settings) {
  if (!settings) {
    return text;
  }
  let characters = [...text];
  if (settings.clean_text) {
    characters = characters.filter((c) => !isControl(c)).map((c) => (SPACE.test(c) ? " " : c));
  }
  if (settings.handle_chinese_chars) {
    characters = characters.map((c) => (isChinese(c) ? ` ${c} ` : c));
  }
  let found = characters.join("");
  if (settings.strip_accents ?? settings.lowercase) {
    found = [...found.normalize("NFD")].filter((c) => !ACCENT.test(c)).join("");
  }
  // One character at a time: a Greek word's last sigma is as any other.
  return settings.lowercase ? [...found].map((c) => c.toLowerCase()).join("") : found;
}

/**
 * The words of a normalised text: what stands between white space, each punctuation mark for itself.
 * @param {string} text
 */
export function words(text) {
  const found = [];
  let word = "";
  const end = () => {
    if (word) {
      found.push(word);
    }
    word = "";
  };
  for (const c of text) {
    if (SPACE.test(c)) {
      end();
    } else if (PUNCTUATION.test(c)) {
      end();
      found.push(c);
    } else {
      word += c;
    }
  }
  end();
  return found;
}

// The longest piece that fits, again and again; a word of which some part is no piece is unknown as a whole.
function pushPieces(ids, word, model, vocabulary) {
  const characters = [...word];
  const unknown = vocabulary.get(model.unk_token);
  if (characters.length > model.max_input_chars_per_word) {
    ids.push(unknown);
    return;
  }
  const found = [];
  for (let start = 0; start < characters.length; ) {
    let end = characters.length;
    let id;
    for (; end > start; end -= 1) {
      const piece = characters.slice(start, end).join("");
      id = vocabulary.get(start > 0 ? model.continuing_subword_prefix + piece : piece);
      if (id !== undefined) {
        break;
      }
    }
    if (id === undefined) {
      ids.push(unknown);
      return;
    }
    found.push(id);
    start = end;
  }
  ids.push(...found);
}

function isControl(c) {
  return c === "\0" || c === "\ufffd" || (CONTROL.test(c) && !"\t\n\r".includes(c));
}

function isChinese(c) {
  const code = c.codePointAt(0);
  return CHINESE.some(([first, last]) => first <= code && code <= last);
}

// Tokens that are found as they stand in a text, such as [MASK]: the longest first.
function addedTokens(tokens) {
  for (const token of tokens) {
    if (token.lstrip || token.rstrip || token.single_word) {
      throw new Error(`tokenizer.json: added token ${token.content} has lstrip, rstrip or single_word; none is known`);
    }
  }
  return tokens.map(({ content, id }) => ({ content, id })).sort((a, b) => b.content.length - a.content.length);
}

// Parts of a text and ids of the tokens between them.
function splitAt(text, tokens) {
  const found = [];
  let rest = text;
  while (rest) {
    let first = { place: rest.length, token: null };
    for (const token of tokens) {
      const place = rest.indexOf(token.content);
      if (place >= 0 && place < first.place) {
        first = { place, token };
      }
    }
    if (first.place > 0) {
      found.push(rest.slice(0, first.place));
    }
    if (first.token) {
      found.push(first.token.id);
    }
    rest = rest.slice(first.place + (first.token?.content.length ?? 0));
  }
  return found;
}

// Ids before and after a single text.
function specialTokens(post) {
  if (post?.type === "BertProcessing") {
    return { before: [post.cls[1]], after: [post.sep[1]] };
  }
  expect("post_processor", post?.type, "TemplateProcessing");
  const found = { before: [], after: [] };
  let side = "before";
  for (const part of post.single) {
    if (part.Sequence) {
      side = "after";
    } else {
      found[side].push(...post.special_tokens[part.SpecialToken.id].ids);
    }
  }
  return found;
}

function expect(part, found, wanted) {
  if (found !== wanted) {
    throw new Error(`tokenizer.json: ${part} is ${found ?? "not there"}, expected ${wanted}`);
  }
}
