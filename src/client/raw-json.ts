/**
 * Returns the JSON of each envelope in a message of the gateway: in the array `envelopes` of a batch, or in the array
 * `records` of a history page. {@link rawJson} is the one implementation; it is passed as an option, so that pages that
 * do not use it do not load it.
 */
export type RawReader = (json: string, key: "envelopes" | "records") => string[];

const BRACE_OR_STRING = /[{}]|"[^"\\]*(?:\\.[^"\\]*)*"/g;

/**
 * For the option `raw`: each entry also carries its envelope's JSON exactly as the gateway sent it. Parsing and
 * serializing it again would change the order of keys like "1" and the form of numbers.
 */
export const rawJson: RawReader = (json, key) => {
  const objects: string[] = [];
  let start = 0;
  let depth = 0;
  BRACE_OR_STRING.lastIndex = json.indexOf(`"${key}":[`) + key.length + 4;
  for (let match = BRACE_OR_STRING.exec(json); match; match = BRACE_OR_STRING.exec(json)) {
    if (match[0] === "{" && depth++ === 0) start = match.index;
    else if (match[0] === "}" && --depth === 0) objects.push(json.slice(start, match.index + 1));
    // A string or the end of the message after the array.
    else if (depth <= 0) break;
  }
  return key === "records" ? objects.map(withoutSequence) : objects;
};

/** A record of a history page is its envelope with `"sequence":N,` in front. */
function withoutSequence(record: string): string {
  return `{${record.slice(record.indexOf(",") + 1)}`;
}
