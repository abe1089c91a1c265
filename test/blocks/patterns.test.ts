import { describe, expect, it } from "vitest";
import { MessagePatterns } from "../../src/blocks/patterns.ts";

function patternsOf(messages: readonly string[]): MessagePatterns {
  const patterns = new MessagePatterns();
  for (const [index, message] of messages.entries()) patterns.add(message, 1, index);
  return patterns;
}

describe("MessagePatterns", () => {
  it.each([
    ["Wrote 1234 bytes to /workspace/src/a.py", "Wrote <_> bytes to <_>"],
    [
      "Retry 3 of 5 in 12.5ms: connection reset by 10.0.0.1:8080.",
      "Retry <_> of <_> in <_>ms: connection reset by <_>.",
    ],
    ["cache lookup key=4bf92f3577b34da6 hit=true", "cache lookup key=<_> hit=true"],
    ['Task "find a way" assigned to inst-3f2a', 'Task "<_>" assigned to <_>'],
    ["GET https://example.org/x?y=1  done", "GET <_>?y=<_> done"],
    ["user 0f8fad5b-d9cb-469f-a165-70867728950e and/or\n  at line 2", "user <_> and/or"],
    ["Größe 5 KiB, „fertig“", "Größe <_> KiB, „fertig“"],
    ['an "open quote', 'an "open quote'],
    ["", ""],
  ])("replaces what varies in %j", (message, pattern) => {
    expect(patternsOf([message]).top(1)).toEqual([
      { pattern, count: 1, example: message, sequence: 0 },
    ]);
  });

  it("groups messages that differ in few words, and has the newest as the example", () => {
    const patterns = patternsOf([
      "Loaded plan alpha for agent anna in 3 ms",
      "Loaded plan beta for agent bert in 44 ms",
      "Something else",
    ]);
    expect(patterns.top(5)).toEqual([
      {
        pattern: "Loaded plan <_> for agent <_> in <_> ms",
        count: 2,
        example: "Loaded plan beta for agent bert in 44 ms",
        sequence: 1,
      },
      { pattern: "Something else", count: 1, example: "Something else", sequence: 2 },
    ]);
    expect(patterns.top(1)).toHaveLength(1);
  });

  it("takes patterns of other parts", () => {
    const all = patternsOf(["Loaded plan alpha for agent anna in 3 ms"]);
    for (const { pattern, count, sequence, example } of patternsOf([
      "Loaded plan alpha for agent carl in 7 ms",
    ]).top(10)) {
      all.add(pattern, count, sequence + 100, example);
    }
    expect(all.top(10)).toEqual([
      {
        pattern: "Loaded plan alpha for agent <_> in <_> ms",
        count: 2,
        example: "Loaded plan alpha for agent carl in 7 ms",
        sequence: 100,
      },
    ]);
  });

  it("is bounded, and counts what is in no group", () => {
    const patterns = new MessagePatterns();
    const word = (number: number): string =>
      number.toString(4).replaceAll(/\d/g, (digit) => "abcd"[Number(digit)]!);
    for (let index = 0; index < 20_000; index++)
      patterns.add(`${word(index)} ${word(index)}`, 2, index);
    const groups = patterns.top(Infinity);
    expect(groups.length).toBeLessThanOrEqual(2000);
    expect(groups.reduce((sum, { count }) => sum + count, patterns.others)).toBe(40_000);
  });
});
