import { TailgateError } from "../wire/errors.ts";

/** The versions of Node that Tailgate runs on; the same as `engines` in package.json. */
export const NODE_RANGE = "^22.18.0 || ^24.11.0 || >=26.0.0";

/** One part of a range: all from that version on, with `^` of the same major one. */
const PART = /^(\^|>=)(\d+)\.(\d+)\.(\d+)$/;

/** Returns why Tailgate cannot run with a version of Node; undefined if it can. */
export function unsupportedNodeError(
  version: string,
  range = NODE_RANGE,
): TailgateError | undefined {
  if (range.split("||").some((part) => isIn(part.trim(), version))) return undefined;
  return new TailgateError(
    "NODE_UNSUPPORTED",
    `This is Node ${version}, and Tailgate runs on ${range}.`,
  );
}

function isIn(part: string, version: string): boolean {
  const [, operator, ...wanted] = PART.exec(part) ?? [];
  const [major, minor, patch] = /\d+\.\d+\.\d+/.exec(version)![0].split(".").map(Number);
  const [majorMin, minorMin, patchMin] = wanted.map(Number);
  if (major !== majorMin) return operator === ">=" && major! > majorMin!;
  return minor === minorMin ? patch! >= patchMin! : minor! > minorMin!;
}
