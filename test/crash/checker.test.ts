import { beforeEach, describe, expect, it } from "vitest";
import { flawsOf, type Stored, type StoredRecord } from "./checker.ts";
import { Ledger, type SentRecord } from "./ledger.ts";

describe("the checker", () => {
  let ledger: Ledger;
  let sent: SentRecord[];

  beforeEach(() => {
    ledger = new Ledger();
    sent = [1, 2, 3].map((seq) => ledger.send("one", seq, seq === 2, "filler"));
    ledger.acknowledge(sent.slice(0, 2));
  });

  function stored(
    sequences: readonly number[],
    change: Partial<StoredRecord> = {},
  ): StoredRecord[] {
    return sequences.map((sequence, index) => ({
      ...sent[sequence - 1]!,
      ...change,
      sequence: index + 1,
    }));
  }

  function flaws(records: readonly StoredRecord[], given: Partial<Stored> = {}): string[] {
    return flawsOf(ledger, {
      records,
      gaps: [],
      others: [],
      from: 1,
      to: records.length,
      ...given,
    });
  }

  it("accepts everything acknowledged, and records that were only sent", () => {
    expect(flaws(stored([1, 2]))).toEqual([]);
    expect(flaws(stored([1, 2, 3]))).toEqual([]);
    const others = [{ sequence: 3, body: "" }];
    expect(flaws(stored([1, 2]), { others, gaps: [{ from: 4, to: 5 }], to: 5 })).toEqual([]);
  });

  it("finds missing records", () => {
    expect(flaws(stored([1]))).toEqual(["one/2 was acknowledged and is missing"]);
  });

  it("finds duplicates", () => {
    expect(flaws(stored([1, 2, 2]))).toEqual(["one/2 is stored twice"]);
  });

  it("finds records out of order", () => {
    expect(flaws(stored([2, 1]))).toEqual(["one/1 comes after one/2"]);
  });

  it.each([{ body: "other" }, { sha256: "0" }, { isAudit: true }])(
    "finds altered records: %o",
    (change) => {
      const records = [...stored([1], change), { ...stored([1, 2])[1]! }];
      expect(flaws(records)).toEqual(["one/1 is another record than the one that was sent"]);
    },
  );

  it("finds records that were never sent", () => {
    const strange = { ...stored([1])[0]!, producer: "two", sequence: 3 };
    expect(flaws([...stored([1, 2]), strange])).toEqual(["two/1 was never sent"]);
  });

  it("finds a gap that is not reported", () => {
    const [one, two] = stored([1, 2]);
    expect(flaws([one!, { ...two!, sequence: 4 }], { to: 6 })).toEqual([
      "the sequences 2 to 3 are not told of",
      "the sequences 5 to 6 are not told of",
    ]);
  });
});
