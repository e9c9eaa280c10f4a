/** A transcript as files: plain text, SubRip, WebVTT. */

/** A cue is at most two lines of this width; a Chinese, Japanese or Korean character is two wide. */
const CUE_WIDTH = 84;
const CUE_SECONDS = 7;
/** Nobody can read a shorter one. */
const SHORTEST_CUE = 0.5;
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]/u;
const SENTENCE_END = /[.!?…。！？]["'”’」』)]*\s*$/u;

export const FORMATS = {
  txt: { type: "text/plain", write: writeText },
  srt: { type: "application/x-subrip", write: writeSrt },
  vtt: { type: "text/vtt", write: writeVtt },
};

export function writeText(entries) {
  return entries.map(({ text, translation }) => `${text}\n${translation ? `${translation.text}\n` : ""}`).join("");
}

export function writeSrt(entries) {
  return cues(entries)
    .map(({ start, end, text }, index) => `${index + 1}\n${time(start, ",")} --> ${time(end, ",")}\n${text}\n`)
    .join("\n");
}

export function writeVtt(entries) {
  const escaped = (text) => text.replace(/[&<>]/g, (character) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[character]);
  const written = cues(entries).map(
    ({ start, end, text }) => `\n${time(start, ".")} --> ${time(end, ".")}\n${escaped(text)}\n`,
  );
  return `WEBVTT\n${written.join("")}`;
}

/** What stands on the screen and when: no two at once, none too long. */
export function cues(entries) {
  const all = entries.flatMap((entry) => pieces(entry));
  return all.map((cue, index) => {
    const next = all[index + 1]?.start ?? Infinity;
    const end = Math.max(cue.end, cue.start + SHORTEST_CUE);
    return { ...cue, end: next > cue.start ? Math.min(end, next) : end };
  });
}

/** An entry in portions, cut between words where their times are known. */
function pieces(entry) {
  const parts = timedParts(entry);
  const made = [];
  let open = null;
  for (const part of parts) {
    const full = open && (width(open.text + part.text) > CUE_WIDTH || part.end - open.start > CUE_SECONDS);
    const sentence = open && SENTENCE_END.test(open.text) && width(open.text) > CUE_WIDTH / 2;
    if (!open || full || sentence) {
      open = { ...part };
      made.push(open);
    } else {
      open.text += part.text;
      open.end = part.end;
    }
  }
  return made.map((cue) => ({ ...cue, text: cue.text.trim() })).filter((cue) => cue.text);
}

/** The text cut before each word, with the word's times; the text as one part if the words are not in it. */
function timedParts({ text, start, end, words }) {
  const parts = [];
  let at = 0;
  for (const word of words) {
    const from = text.indexOf(word.word.trim(), at);
    if (from < 0) return [{ text, start, end }];
    if (parts.length) parts.at(-1).text = text.slice(parts.at(-1).from, from);
    parts.push({ from: parts.length ? from : 0, start: word.start, end: word.end });
    at = from + word.word.trim().length;
  }
  if (!parts.length) return [{ text, start, end }];
  parts.at(-1).text = text.slice(parts.at(-1).from);
  return parts;
}

function width(text) {
  return [...text].reduce((sum, character) => sum + (WIDE.test(character) ? 2 : 1), 0);
}

/** 3723.5 → 01:02:03,500 */
function time(seconds, point) {
  const millis = Math.max(0, Math.round(seconds * 1000));
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const rest = String(millis % 1000).padStart(3, "0");
  return `${two(millis / 3_600_000)}:${two((millis / 60_000) % 60)}:${two((millis / 1000) % 60)}${point}${rest}`;
}

/** 63.2 → 01:03; with hours when there are any. */
export function clock(seconds) {
  const written = time(Math.floor(seconds), ".").slice(0, 8);
  return written.startsWith("00:") ? written.slice(3) : written;
}
