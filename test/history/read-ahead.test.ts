import { expect, test } from "vitest";
import { batch, JournalDirectory, textsOf } from "../journal/journal-directory.ts";

test("pages that are read ahead are those that readers continue with, as long as they have not expired", async () => {
  await using directory = await JournalDirectory.create();
  let journal = await directory.open();
  const bodies = Array.from({ length: 6_000 }, (_, index) => `record ${index + 1}`);
  await journal.append(batch(...bodies, "audit event"));
  await journal.merge();
  await directory.close(journal);
  journal = await directory.open();
  await journal.append(batch("later"));
  const expected = [...bodies, "audit event", "later"].map((body, index) => `${index + 1} ${body}`);

  // Two readers in turn, in opposite directions, and with a third one that skips every other page.
  const up: string[] = [];
  const down: string[][] = [];
  for (let from = 1, to = journal.newest; from <= journal.newest || to >= 1;) {
    const [next, previous] = await Promise.all([
      journal.read({ from }),
      journal.read({ from: to, order: "desc" }),
    ]);
    up.push(...textsOf(next));
    down.unshift(textsOf(previous));
    const skipped = await journal.read({ from: next.to + 1_025 });
    expect(textsOf(skipped)).toEqual(expected.slice(next.to + 1_024, skipped.to));
    from = next.to + 1;
    to = previous.from - 1;
  }
  expect(up).toEqual(expected);
  expect(down.flat()).toEqual(expected);

  // Readers of envelopes get pages without OTLP requests after a while. If one is needed, it is the same as always.
  let needed = 0;
  for (let from = 1; from <= journal.mergedUpTo;) {
    const part = await journal.read({ from });
    const { records } = part;
    if (++needed > 4) {
      const { records: whole } = await journal.read({ from, type: "system_log" });
      expect(records!.record(0)).toEqual(whole!.record(0));
      const logs = records!.select((index) => records!.type(index) === "system_log");
      expect(logs.otlp()).toEqual(whole!.otlp());
    }
    from = part.to + 1;
  }
  expect(needed).toBeGreaterThan(5);

  let page = await journal.read({ from: 1 });
  page = await journal.read({ from: page.to + 1 });
  expect(textsOf(page)).toEqual(expected.slice(page.from - 1, page.to));
  // The next pages are read by now, or will be.
  journal.setRetention({ system_log: { bytes: 1, ms: 0 }, audit_log: { bytes: 1, ms: 0 } });
  await expect.poll(() => journal.oldestRetained).toBeGreaterThan(page.to);
  expect((await journal.read({ from: page.to + 1 })).records?.sequence(0)).toBeUndefined();
});
