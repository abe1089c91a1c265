import { describe, expect, it } from "vitest";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { batch } from "../journal/journal-directory.ts";
import { denseText } from "../harness/dense-text.ts";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import { mkdir, stat } from "node:fs/promises";

const GIB = 2 ** 30;
const JOURNAL_BYTES = GIB / 2;
const RECORDS = 500;
const SECONDS_PER_GIB_MAX = 2;
const FILL_MS_MAX = 300_000;

async function readyAfterMs(site: CrashSite): Promise<number> {
  const start = performance.now();
  await using gateway = await site.start({ config: "exporters: {}\n" });
  expect(await urlOf(gateway)).toBeDefined();
  return performance.now() - start;
}

/** Writes a journal of large, half incompressible commits that is never closed. */
async function fill(directory: string): Promise<void> {
  const limits = { bytes: 100 * GIB, ms: 1e12 };
  const retention = { system_log: limits, audit_log: limits };
  const journal = await SqliteJournal.open({ directory, retention, alarm: () => {} });
  const bodies = Array.from({ length: RECORDS }, (_, index) =>
    index % 10 === 0 ? `audit ${index}` : denseText(600),
  );
  while ((await stat(`${directory}/journal.db`)).size < JOURNAL_BYTES) {
    await Promise.all([journal.append(batch(...bodies)), journal.append(batch(...bodies))]);
  }
  await journal.close();
}

describe("a restart", () => {
  it(
    `takes at most ${SECONDS_PER_GIB_MAX} s per GiB of journal`,
    async () => {
      await using site = await CrashSite.create();
      await mkdir(site.logDir, { mode: 0o700 });
      const emptyMs = Math.min(await readyAfterMs(site), await readyAfterMs(site));
      await fill(site.logDir);
      // Each gateway is killed, so that the next one has to recover the log.
      const times = [await readyAfterMs(site), await readyAfterMs(site), await readyAfterMs(site)];
      const fullMs = times.sort((one, other) => one - other)[1]!;
      const secondsPerGib = (Math.max(0, fullMs - emptyMs) / 1000) * (GIB / JOURNAL_BYTES);
      console.log(
        `ready after ${Math.round(emptyMs)} ms with an empty journal, ${Math.round(fullMs)} ms with ${JOURNAL_BYTES / GIB} GiB: ${secondsPerGib.toFixed(2)} s/GiB`,
      );
      expect(secondsPerGib).toBeLessThan(SECONDS_PER_GIB_MAX);
    },
    FILL_MS_MAX,
  );
});
