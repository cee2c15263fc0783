// Checks of the DICOM header, as `DICOM_CHECKS` of `core.quality`. The lists of words come from the package.

const PER_YEAR = { D: 365.25, W: 52.18, M: 12, Y: 1 };

// The age in years, such as that of `065Y` or `018M`; NaN if the text isn't an age.
export function ageInYears(text) {
  const match = /^\s*(\d{1,4}(?:\.\d+)?)\s*([DWMY]?)\w*\s*$/.exec((text ?? "").toUpperCase());
  return match ? Number(match[1]) / PER_YEAR[match[2] || "Y"] : NaN;
}

// Upper case without accents.
const plain = (text) => text.toUpperCase().normalize("NFKD").replace(/\p{M}/gu, "");
const wordsOf = (text) => plain(text).match(/[\p{L}\p{N}_]+/gu) ?? [];

// Whether a text names another part of the body than the chest.
function isOtherPart(text, rules) {
  const upper = plain(text);
  if (upper.includes("SPINE") || upper.includes("BREAST")) return true;
  if (rules.chest_words.some((word) => upper.includes(word))) return false;
  const isAscii = (word) => /^[\x00-\x7f]*$/.test(word);
  return wordsOf(text).some((word) =>
    rules.other_words.some((other) => (isAscii(other) ? word.startsWith(other) : word.includes(other))),
  );
}

// The codes of the checks that the header fails.
export function headerReasons(header, rules) {
  const isLateral =
    wordsOf(header.view ?? "").some((word) => rules.lateral_views.includes(word)) ||
    ["A", "P"].includes((header.orientation ?? "").trim().toUpperCase()[0]);
  const found = {
    wrong_modality: !rules.modalities.includes((header.modality || "DX").toUpperCase()),
    wrong_body_part: isOtherPart(header.body_part ?? "", rules),
    wrong_view: isLateral,
    damaged: "damaged" in header,
    adult: ageInYears(header.age) >= 18,
  };
  return Object.keys(found).filter((code) => found[code]);
}
