import { TailgateError } from "../wire/errors.ts";

/** The supported versions of Node; the same as `engines` in package.json. */
export const NODE_RANGE = "^22.18.0 || ^24.11.0 || >=26.0.0";

/** One part of the range: all later versions, with `^` those of the same major version. */
const PART = /^(\^|>=)(\d+)\.(\d+)\.(\d+)$/;

/** Returns the error for an unsupported version of Node; undefined if it is supported. */
export function unsupportedNodeError(
  version: string,
  range = NODE_RANGE,
): TailgateError | undefined {
  if (range.split("||").some((part) => isInPart(part.trim(), version))) return undefined;
  return new TailgateError(
    "NODE_UNSUPPORTED",
    `This is Node ${version}, but Tailgate requires ${range}.`,
  );
}

function isInPart(part: string, version: string): boolean {
  const [, operator, ...wanted] = PART.exec(part) ?? [];
  const [major, minor, patch] = /\d+\.\d+\.\d+/.exec(version)![0].split(".").map(Number);
  const [majorMin, minorMin, patchMin] = wanted.map(Number);
  if (major !== majorMin) return operator === ">=" && major! > majorMin!;
  return minor === minorMin ? patch! >= patchMin! : minor! > minorMin!;
}
