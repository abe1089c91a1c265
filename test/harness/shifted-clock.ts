/**
 * For `node --import`: a process whose clock is wrong by as many milliseconds as the file that `SHIFT_FILE` names says,
 * which may change while it runs. By way of NODE_OPTIONS, so that worker threads have the same clock.
 */

import { readFileSync } from "node:fs";

const file = process.env["SHIFT_FILE"]!;
const RealDate = Date;

function now(): number {
  return RealDate.now() + Number(readFileSync(file, "utf8"));
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, newTarget) =>
    Reflect.construct(target, given.length === 0 ? [now()] : given, newTarget) as Date,
  apply: () => new RealDate(now()).toString(),
  get: (target, name, receiver) =>
    name === "now" ? now : (Reflect.get(target, name, receiver) as unknown),
});
