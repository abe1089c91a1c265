import { isDeepStrictEqual } from "node:util";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { flawsOf } from "./checker.ts";
import { CrashSite, urlOf, type GatewayOptions } from "../harness/crash-site.ts";
import { Ledger } from "./ledger.ts";
import { Producer } from "./producer.ts";
import { auditLinesIn, storedIn } from "./stored.ts";

/** `npm run test:crash` sets more. */
const MOMENTS = Number(process.env["CRASH_MOMENTS"] ?? 20);
const CONNECTIONS = 4;
const LOAD_MS_MAX = 400;
const ROUND_MS_MAX = 8_000;

/** Starts a gateway, sends to it on several connections, and kills it at a random moment. */
async function crashOnce(
  site: CrashSite,
  ledger: Ledger,
  round: number,
  options?: GatewayOptions,
): Promise<void> {
  await using gateway = await site.start(options);
  const url = await urlOf(gateway);
  if (url === undefined) throw new Error(`The gateway has ended:\n${gateway.stderr}`);
  const names = Array.from({ length: CONNECTIONS }, (_, index) => `round${round}-${index}`);
  const running = names.map((name) =>
    new Producer(name, ledger).run(url, new AbortController().signal),
  );
  await wait(Math.random() * LOAD_MS_MAX);
  gateway.process.kill("SIGKILL");
  await Promise.all([gateway.ended, ...running]);
}

describe("a gateway that is killed", () => {
  it(
    `does not lose, duplicate, alter or reorder acknowledged records, at ${MOMENTS} random moments`,
    async () => {
      await using site = await CrashSite.create();
      const ledger = new Ledger();
      for (let round = 1; round <= MOMENTS; round++) await crashOnce(site, ledger, round);
      await using gateway = await site.start();
      expect(await urlOf(gateway)).toBeDefined();
      expect(await gateway.end()).toBe(0);
      const stored = await storedIn(site.logDir);
      expect(flawsOf(ledger, stored)).toEqual([]);
      expect(stored).toMatchObject({ alarms: [], chainBreaks: [] });
      // Every kill hit a gateway under load.
      expect(ledger.acknowledged.size).toBeGreaterThan(10 * MOMENTS);
      // The files, too: completed by the last start, with no line lost, duplicated or split.
      const audit = stored.records.filter(({ isAudit }) => isAudit);
      expect(isDeepStrictEqual(await auditLinesIn(site.logDir), audit)).toBe(true);
    },
    ROUND_MS_MAX * MOMENTS,
  );

  it("is caught if it acknowledges records before they are durable", async () => {
    await using site = await CrashSite.create();
    const ledger = new Ledger();
    await crashOnce(site, ledger, 1, { isEarly: true });
    await crashOnce(site, ledger, 2, { isEarly: true });
    const flaws = flawsOf(ledger, await storedIn(site.logDir));
    expect(flaws.some((flaw) => flaw.endsWith("was acknowledged and is missing"))).toBe(true);
  });
});
