import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PanelStore } from "../../src/dashboard/panel/panel-store.ts";
import {
  firstSequence,
  isEntry,
  isGap,
  lastSequence,
  type PanelRow,
} from "../../src/dashboard/panel/rows.ts";
import { LogHistory, type HistoryQuery } from "tailgate/client";
import { HttpHarness } from "../harness/http-server.ts";
import { SmallGateway } from "./small-gateway.ts";

const PAGE_RECORDS = 7;
const ROWS_MAX = 20;

class Bench {
  readonly gateway = new SmallGateway();
  readonly store: PanelStore;
  /** The number of notifications to React. */
  publishes = 0;
  #publish: (() => void) | undefined;

  constructor() {
    this.store = new PanelStore({
      type: "system_log",
      filter: {},
      stream: this.gateway,
      history: this.gateway,
      schedule: (publish) => (this.#publish = publish),
      limits: { rowsMax: ROWS_MAX, weightMax: 1e9 },
      pageRecords: PAGE_RECORDS,
    });
    this.store.subscribe(() => this.publishes++);
  }

  frame(): void {
    this.#publish?.();
    this.#publish = undefined;
  }

  get rows(): PanelRow[] {
    return Array.from({ length: this.store.rows.length }, (_, index) => this.store.rows.at(index)!);
  }

  get sequences(): number[] {
    return this.rows.filter(isEntry).map(({ sequence }) => sequence);
  }

  info(count: number, isTold = true): void {
    this.gateway.emit(
      Array.from({ length: count }, () => "INFO" as const),
      isTold,
    );
  }
}

/** Expects no missing and no duplicated record between adjacent rows. */
function check(bench: Bench): void {
  const { rows, store, gateway } = bench;
  const matching = gateway.matching().map(({ sequence }) => sequence);
  for (const [index, row] of rows.entries()) {
    const before = rows[index - 1];
    if (!before) continue;
    const [from, to] = [lastSequence(before) + 1, firstSequence(row) - 1];
    expect(to).toBeGreaterThanOrEqual(from - 1);
    expect(matching.filter((sequence) => sequence >= from && sequence <= to)).toEqual([]);
  }
  expect(rows.length).toBeLessThanOrEqual(ROWS_MAX);
  const { received, shown, filtered, buffered } = store.counts;
  expect(received).toBe(shown + filtered + buffered);
  expect(Math.min(shown, filtered, buffered)).toBeGreaterThanOrEqual(0);
  if (store.isFollowing) expect(buffered).toBe(0);
}

/** The possible actions of a user and of the network. */
const action = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("emit" as const), levels: levels(15) }) },
  fc.record({ do: fc.constant("miss" as const), levels: levels(10) }),
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom(...ACTIONS()) }) },
);

function ACTIONS() {
  return [
    "stop",
    "newest",
    "readOn",
    "older",
    "newer",
    "pause",
    "resume",
    "gap",
    "filter",
    "clear",
    "jump",
  ] as const;
}

function levels(maxLength: number) {
  return fc.array(fc.constantFrom("INFO" as const, "ERROR" as const), { minLength: 1, maxLength });
}

async function perform(bench: Bench, act: { do: string; levels?: ("INFO" | "ERROR")[] }) {
  const { store, gateway } = bench;
  switch (act.do) {
    case "emit":
      return gateway.emit(act.levels!);
    case "miss":
      return gateway.emit(act.levels!, false);
    case "stop":
      return store.stopFollowing();
    case "newest":
      return store.follow();
    case "readOn":
      return store.reachEnd();
    case "older":
      return store.loadOlder();
    case "newer":
      return store.loader.loadNewer();
    case "pause":
      return store.setPaused(true);
    case "resume":
      return store.setPaused(false);
    case "gap": {
      const gap = bench.rows.find((row) => isGap(row) && row.gap.reason === "slow");
      return gap && isGap(gap) ? store.loadGap(gap) : undefined;
    }
    case "filter":
      store.setFilter(gateway.filter.level ? {} : { level: "ERROR" });
      return gateway.takeFilter();
    case "jump":
      return gateway.newest > 0 ? store.goTo(Math.ceil(gateway.newest / 2)) : undefined;
    default:
      return store.clear();
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

describe("for any records and any user actions", () => {
  test("no row is duplicated or missing, and the counts add up", async () => {
    const run = fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
      const bench = new Bench();
      for (const act of actions) {
        await perform(bench, act);
        await settled();
        check(bench);
      }
    });
    await fc.assert(run, { numRuns: 1000 });
  });

  test("the same while history responses arrive late", async () => {
    const late = fc.tuple(action, fc.boolean());
    const run = fc.asyncProperty(fc.array(late, { maxLength: 40 }), async (actions) => {
      const bench = new Bench();
      for (const [act, isReleased] of actions) {
        bench.gateway.hold();
        void perform(bench, act);
        await settled();
        check(bench);
        if (isReleased) bench.gateway.release();
        await settled();
        check(bench);
      }
    });
    await fc.assert(run, { numRuns: 1000 });
  });

  test("afterwards the whole journal can be read, from its start to the newest record", async () => {
    const run = fc.asyncProperty(fc.array(action, { maxLength: 25 }), async (actions) => {
      const bench = new Bench();
      const { store, gateway } = bench;
      bench.info(3);
      for (const act of actions) {
        await perform(bench, act);
        await settled();
      }
      store.setPaused(false);
      if (store.isCleared) store.showCleared();
      await settled();
      store.follow();
      store.stopFollowing();
      const up = new Set<number>();
      const down = new Set<number>();
      const missed = new Set<number>();
      const note = (seen: Set<number>): void => {
        for (const sequence of bench.sequences) seen.add(sequence);
        for (const row of bench.rows.filter(isGap)) {
          for (let at = row.gap.from; at <= row.gap.to; at++) missed.add(at);
        }
      };
      for (let turn = 0; turn < 200 && !store.isAtBeginning; turn++) {
        note(up);
        await store.loadOlder();
      }
      note(up);
      expect(store.isAtBeginning).toBe(true);
      for (let turn = 0; turn < 400 && !store.isFollowing; turn++) {
        note(down);
        store.reachEnd();
        await settled();
      }
      note(down);
      expect(store.isFollowing).toBe(true);
      const wanted = gateway.matching().map(({ sequence }) => sequence);
      expect(wanted.filter((one) => !up.has(one) && !missed.has(one))).toEqual([]);
      expect(wanted.filter((one) => !down.has(one) && !missed.has(one))).toEqual([]);
    });
    await fc.assert(run, { numRuns: 300 });
  });
});

test("the model answers like a real journal over HTTP", async () => {
  const harness = await new HttpHarness().open();
  const model = new SmallGateway();
  const [given] = fc.sample(levels(60), { numRuns: 1, seed: 7 });
  const all = [...given!, ...Array.from({ length: 40 }, () => "INFO" as const)];
  model.emit(all);
  await harness.log(...all.map((severityText) => ({ severityText })));
  const journal = new LogHistory({ url: harness.url });
  const { epoch } = await journal.newest();
  const walk = async (history: Pick<LogHistory, "page">, query: HistoryQuery) => {
    const pages = [await history.page(query)];
    for (let cursor; (cursor = pages.at(-1)!.nextCursor);) {
      pages.push(await history.page({ ...query, cursor }));
    }
    const entries = pages.flatMap((page) => page.entries);
    return entries.map(({ sequence, envelope }) => `${sequence} ${envelope.data.level}`);
  };
  for (const order of ["asc", "desc"] as const) {
    for (const filter of [{}, { level: "ERROR" }]) {
      for (const from of [1, 30, all.length]) {
        const query = { order, filter, from, epoch, limit: PAGE_RECORDS };
        expect([query, await walk(model, query)]).toEqual([query, await walk(journal, query)]);
      }
    }
  }
});

test("the visible rows do not change while records arrive, however many", () => {
  const bench = new Bench();
  bench.info(10);
  bench.store.stopFollowing();
  const before = bench.sequences;
  bench.info(100);
  expect(bench.sequences).toEqual(before);
  expect(bench.store.counts).toMatchObject({ received: 110, shown: 10, buffered: 100 });
  bench.store.follow();
  expect(bench.sequences).toEqual(Array.from({ length: ROWS_MAX }, (_, index) => 91 + index));
});

test("a pause loses nothing, even beyond the page's capacity", async () => {
  const bench = new Bench();
  bench.info(10);
  bench.store.setPaused(true);
  bench.info(100);
  bench.store.setPaused(false);
  expect(bench.sequences.at(-1)).toBe(110);
  bench.store.stopFollowing();
  const seen = new Set(bench.sequences);
  while (!bench.store.isAtBeginning) {
    await bench.store.loadOlder();
    for (const sequence of bench.sequences) seen.add(sequence);
  }
  expect(seen.size).toBe(110);
});

test("prepended rows lower the first ordinal by their number", async () => {
  const bench = new Bench();
  bench.info(30);
  bench.store.stopFollowing();
  const { first } = bench.store.rows;
  const top = bench.sequences[0]!;
  await bench.store.loadOlder();
  expect(bench.store.rows.first).toBe(first - PAGE_RECORDS);
  expect(bench.sequences[PAGE_RECORDS]).toBe(top);
});

test("a response that no longer fits the start of the list is dropped", async () => {
  const bench = new Bench();
  bench.info(30);
  bench.gateway.hold();
  const loading = bench.store.loadOlder();
  bench.info(5);
  bench.store.stopFollowing();
  bench.gateway.release();
  await loading;
  check(bench);
  expect(bench.sequences[0]).toBe(16);
});

test("a jump shows the context of a record, and continues from there", async () => {
  const bench = new Bench();
  bench.info(100);
  await bench.store.goTo(50);
  expect(bench.sequences).toEqual(Array.from({ length: 14 }, (_, index) => 44 + index));
  expect(bench.store.loader.takeScrollTarget()).toBe(bench.store.rows.first + 6);
  expect(bench.store.loader.takeScrollTarget()).toBeUndefined();
  await bench.store.loader.loadNewer();
  expect(bench.sequences.at(-1)).toBe(64);
});

test("a gap is a row that is replaced by its records, and its rest by a gap", async () => {
  const bench = new Bench();
  bench.info(2);
  bench.info(10, false);
  bench.info(2);
  const gap = bench.rows.find(isGap)!;
  expect(gap.gap).toEqual({ from: 3, to: 12, reason: "slow" });
  expect(bench.store.counts.missing).toBe(10);
  await bench.store.loadGap(gap);
  expect(bench.sequences).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14]);
  expect(bench.rows.find(isGap)!.gap).toEqual({ from: 10, to: 12, reason: "slow" });
  expect(bench.store.counts.missing).toBe(3);
  await bench.store.loadGap(bench.rows.find(isGap)!);
  expect(bench.sequences).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  expect(bench.store.counts.missing).toBe(0);
});

test("ignores gaps of the other panel", () => {
  const bench = new Bench();
  const gap = { from: 1, to: 5, reason: "slow", type: "audit_log" } as const;
  bench.gateway.dispatch({ type: "gap", gap });
  expect(bench.rows).toEqual([]);
});

test("deleted records are reported at the start of the journal", async () => {
  const bench = new Bench();
  bench.info(30);
  bench.gateway.oldest = 5;
  bench.store.stopFollowing();
  for (let turn = 0; turn < 10 && !bench.store.isAtBeginning; turn++) await bench.store.loadOlder();
  expect(bench.rows[0]).toEqual({ gap: { from: 1, to: 4, reason: "retention" } });
});

test("retracted records are removed from the list, and a row reports that", () => {
  const bench = new Bench();
  bench.info(5);
  bench.gateway.dispatch({ type: "reset", epoch: "f", from: 4, to: 5, reason: "never stored" });
  expect(bench.sequences).toEqual([1, 2, 3]);
  bench.gateway.entries.length = 3;
  bench.info(2);
  expect(bench.sequences).toEqual([1, 2, 3, 4, 5]);
  expect(bench.rows[3]).toEqual({
    reset: { type: "reset", epoch: "f", from: 4, to: 5, reason: "never stored" },
  });
});

test("React is notified once per frame, however many batches arrive", () => {
  const bench = new Bench();
  for (let batch = 0; batch < 50; batch++) bench.info(3);
  bench.frame();
  expect(bench.publishes).toBe(1);
});

test("a rejected filter is reported until another one is set; the previous one stays in effect", () => {
  const bench = new Bench();
  const { store, gateway } = bench;
  gateway.emit(["INFO", "ERROR"]);
  store.setFilter({ q: "level:" });
  gateway.dispatch({ type: "refused", version: 1, reason: "A value is missing." });
  expect([store.rejection, store.filter, bench.sequences]).toEqual([
    "A value is missing.",
    {},
    [1, 2],
  ]);
  store.setFilter({ level: "ERROR" });
  expect(store.rejection).toBe("");
  gateway.takeFilter();
  gateway.dispatch({ type: "refused", version: 1, reason: "A value is missing." });
  expect(store.rejection).toBe("");
});
