import { describe, expect, it } from "vitest";
import { flawsOf } from "./checker.ts";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import { Ledger } from "./ledger.ts";
import { Producer } from "./producer.ts";
import { storedIn } from "./stored.ts";
import { withFault, type JournalCall } from "./strace.ts";

const numbers = (first: number, last: number, step = 1): number[] =>
  Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => first + step * index);

/** The last call before the kill: during opening, small commits, and well into a checkpoint. */
const CALLS: [JournalCall, number[]][] =
  process.env["CRASH_MOMENTS"] === undefined
    ? [
        ["fsync", [3, 6]],
        ["pwrite64", [5, 70, 101]],
      ]
    : [
        ["fsync", numbers(1, 30)],
        ["pwrite64", [...numbers(1, 120, 2), ...numbers(500, 3_500, 250)]],
      ];
const CONNECTIONS = 4;
const ROUND_MS_MAX = 10_000;

describe("a gateway killed in the middle of a disk write", () => {
  it.each(CALLS)(
    "does not lose, duplicate, alter or reorder acknowledged records: %s",
    async (call, places) => {
      await using site = await CrashSite.create();
      const ledger = new Ledger();
      for (const place of places) {
        const through = await withFault(site.logDir, call, "signal=SIGKILL", String(place));
        await using gateway = await site.start({ through });
        const url = await urlOf(gateway);
        const names = numbers(1, CONNECTIONS).map((index) => `${call}${place}-${index}`);
        const sending = names.map((name) => {
          const signal = new AbortController().signal;
          return url && new Producer(name, ledger).run(url, signal);
        });
        await Promise.all([gateway.ended, ...sending]);
        const stored = await storedIn(site.logDir);
        expect(flawsOf(ledger, stored)).toEqual([]);
        expect(stored.chainBreaks).toEqual([]);
      }
      expect(ledger.acknowledged.size).toBeGreaterThan(0);
    },
    ROUND_MS_MAX * Math.max(...CALLS.map(([, places]) => places.length)),
  );
});
