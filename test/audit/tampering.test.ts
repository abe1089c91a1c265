/** Any change to the files of a trail is detected, and its line is named, against an externally stored checkpoint. */

import { generateKeyPairSync, sign } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { parseCheckpointLine } from "../../src/audit/checkpoint.ts";
import { checkpointEvent } from "../../src/audit/trail-events.ts";
import { AuditHarness, rechain, freezeClock } from "../harness/audit-trail.ts";

/** Thousands of verifications on a shared machine. */
vi.setConfig({ testTimeout: 120_000 });

type Files = Map<string, string[]>;

/** A trail over three days with daily restarts, and the checkpoint that a collector has. */
async function harnessWithTrail(): Promise<{
  harness: AuditHarness;
  files: Files;
  external: string[];
}> {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  await harness.run(["a", "b", "c"]);
  setDay(1);
  await harness.run(["d", "e"]);
  setDay(2);
  await harness.run(["f", "g", "h"]);
  const external = harness.checkpoints().slice(-1);
  expect((await harness.verify(external)).findings).toEqual([]);
  return { harness, files: harness.files(), external };
}

/** The shortest trail that has all parts, for byte-by-byte tests. */
async function harnessWithShortTrail(): Promise<{
  harness: AuditHarness;
  files: Files;
  external: string[];
}> {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  await harness.run(["a"]);
  setDay(1);
  await harness.run(["b"]);
  const external = harness.checkpoints().slice(-1);
  harness.write("checkpoints.jsonl", `${external[0]}\n`);
  return { harness, files: harness.files(), external };
}

/** Returns all lines with their positions, in the order of the trail. */
function locatedLines(
  files: Files,
): { file: string; index: number; line: string; position: string }[] {
  return [...files].flatMap(([file, lines]) =>
    lines.map((line, index) => ({ file, index, line, position: `${file}:${index + 1}` })),
  );
}

function changed(files: Files, file: string, change: (lines: string[]) => void): Files {
  const lines = [...files.get(file)!];
  change(lines);
  return new Map([...files, [file, lines]]);
}

async function firstPosition(harness: AuditHarness, external: readonly string[]): Promise<string> {
  const { findings } = await harness.verify(external);
  return findings[0]?.position ?? "nothing was found";
}

describe("against an externally stored checkpoint", () => {
  test("detects any flipped byte in its line", async () => {
    const { harness, files, external } = await harnessWithShortTrail();
    for (const [file, lines] of files) {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      let line = 1;
      for (let position = 0; position < bytes.length; position++) {
        const former = bytes[position]!;
        bytes[position] = former ^ (1 << (position % 8));
        harness.write(file, bytes);
        expect([position, await firstPosition(harness, external)]).toEqual([
          position,
          `${file}:${line}`,
        ]);
        bytes[position] = former;
        if (former === 0x0a) line++;
      }
      harness.write(file, bytes);
    }
  });

  test("detects any changed byte", async () => {
    const { harness, files, external } = await harnessWithTrail();
    const [file] = files.keys();
    const bytes = Buffer.from(harness.read(file!));
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, by) => {
          const tampered = Buffer.from(bytes);
          tampered[at] = tampered[at]! ^ by;
          harness.write(file!, tampered);
          const line = bytes.subarray(0, at).toString("latin1").split("\n").length;
          // A byte that becomes a line feed splits the line, and its beginning may pass for text of another program.
          const lines = tampered[at] === 0x0a ? [line, line + 1] : [line];
          const positions = lines.map((one) => `${file}:${one}`);
          expect(positions).toContain(await firstPosition(harness, external));
        },
      ),
      { numRuns: 150, examples: [[10, bytes[10]! ^ 0x0a]] },
    );
  });

  test("detects any deleted line at its position", async () => {
    const { harness, files, external } = await harnessWithTrail();
    const located = locatedLines(files);
    for (const [number, { file, index, position }] of located.entries()) {
      const after = changed(files, file, (lines) => lines.splice(index, 1));
      harness.writeFiles(after);
      // At the end of a file, the next line is the first one of the next file; at the very end, the last remaining one.
      const isLast = index === files.get(file)!.length - 1;
      const next = isLast
        ? (located[number + 1]?.position ?? located[number - 1]!.position)
        : position;
      const { findings } = await harness.verify(external);
      expect([position, findings[0]?.position]).toEqual([position, next]);
      expect(findings[0]!.text).toMatch(/removed/);
    }
  });

  test("detects any number of consecutive deleted lines", async () => {
    const { harness, files, external } = await harnessWithTrail();
    for (const [file, lines] of files) {
      for (let from = 0; from < lines.length; from++) {
        for (let to = from + 1; to <= lines.length; to++) {
          harness.writeFiles(changed(files, file, (all) => all.splice(from, to - from)));
          // A missing first day is what retention deletes.
          const isFirstDay = file === [...files.keys()][0] && from === 0 && to === lines.length;
          const { findings, chain } = await harness.verify(external);
          if (isFirstDay) expect([findings, chain.start]).toEqual([[], "checkpoint"]);
          else expect(findings[0]?.text).toMatch(/removed/);
        }
      }
      harness.writeFiles(files);
    }
  });

  test("detects any two swapped lines at the first one", async () => {
    const { harness, files, external } = await harnessWithTrail();
    const located = locatedLines(files);
    for (const [number, one] of located.entries()) {
      for (const other of located.slice(number + 1)) {
        const first = changed(files, one.file, (lines) => lines.splice(one.index, 1, other.line));
        harness.writeFiles(
          changed(first, other.file, (lines) => lines.splice(other.index, 1, one.line)),
        );
        const { findings } = await harness.verify(external);
        expect([one.position, other.position, findings[0]?.position]).toEqual([
          one.position,
          other.position,
          one.position,
        ]);
        expect(findings[0]!.text).toMatch(/reordered/);
      }
    }
  });

  test("detects any duplicated line, wherever its copy is", async () => {
    const { harness, files, external } = await harnessWithTrail();
    for (const { line, position } of locatedLines(files)) {
      for (const [file, lines] of files) {
        for (let at = 0; at <= lines.length; at++) {
          harness.writeFiles(changed(files, file, (all) => all.splice(at, 0, line)));
          const { findings } = await harness.verify(external);
          expect([position, file, at, findings[0]?.text]).toEqual([
            position,
            file,
            at,
            expect.stringMatching(/this line was added: it is a copy of/),
          ]);
        }
        harness.writeFiles(files);
      }
    }
  });

  test("detects truncation at any offset", async () => {
    const { harness, files, external } = await harnessWithShortTrail();
    for (const [file, lines] of [...files].slice(1)) {
      const text = lines.map((line) => `${line}\n`).join("");
      for (let length = 0; length < text.length; length++) {
        harness.write(file, text.slice(0, length));
        const { findings } = await harness.verify(external);
        expect([file, length, findings[0]?.text]).toEqual([file, length, expect.any(String)]);
      }
      harness.write(file, text);
    }
  });

  test("detects any forged line, with any seal or none", async () => {
    const { harness, files, external } = await harnessWithTrail();
    const seals = [
      "",
      `,"seq":7,"hash":"${"5".repeat(64)}"`,
      `,"seq":99,"hash":"${"0".repeat(64)}"`,
    ];
    for (const seal of seals) {
      const forged = `{"timestamp":"2026-11-24T08:00:00.000000Z","event":"forged"${seal}}`;
      for (const [file, lines] of files) {
        for (let at = 0; at <= lines.length; at++) {
          harness.writeFiles(changed(files, file, (all) => all.splice(at, 0, forged)));
          const position = `${file}:${at + 1}`;
          const { findings, chain } = await harness.verify(external);
          // Before the chain begins, a forged line cannot be told from one of another program: it is not covered.
          const isLegacy = seal === "" && position === `${[...files.keys()][0]}:1`;
          const expected = isLegacy ? undefined : position;
          expect([seal, position, findings[0]?.position]).toEqual([seal, position, expected]);
          expect(chain.legacy?.lines).toBe(isLegacy ? 1 : undefined);
        }
        harness.writeFiles(files);
      }
    }
  });

  test("detects a changed, deleted or added line even if all hashes are recomputed", async () => {
    const { harness, files, external } = await harnessWithTrail();
    harness.writeFiles(rechain(files));
    expect((await harness.verify(external)).findings).toEqual([]);
    for (const { file, index, line } of locatedLines(files)) {
      const changes: ((lines: string[]) => void)[] = [
        (lines) => lines.splice(index, 1, line.replace('"INFO"', '"info"')),
        (lines) => lines.splice(index, 1),
        (lines) => lines.splice(index, 0, line.replace('"INFO"', '"info"')),
      ];
      for (const change of changes) {
        harness.writeFiles(rechain(changed(files, file, change)));
        expect((await harness.verify(external)).findings[0]?.text).toMatch(
          /recomputed all hashes|were removed|was removed|sequence|very first/,
        );
      }
    }
  });

  test("detects a trail that an intruder rebuilt and signed with their own key", async () => {
    const { harness, files, external } = await harnessWithTrail();
    const [file] = files.keys();
    const rebuilt = rechain(
      changed(files, file!, (lines) => lines.splice(0, 1, lines[0]!.replace('"a"', '"b"'))),
    );
    harness.writeFiles(rebuilt);
    const heads = new Map(
      locatedLines(rebuilt).map(({ line }) => [/"seq":(\d+)/.exec(line)![1]!, line.slice(-66, -2)]),
    );
    const { privateKey } = generateKeyPairSync("ed25519");
    const forged = harness.checkpoints().map((line) => {
      const signed = line
        .slice(0, line.indexOf(',"signature"'))
        .replace(/(?<="seq":(\d+),"head":")\w+/, (_, seq: string) => heads.get(seq)!);
      return `${signed},"signature":"${sign(null, Buffer.from(signed), privateKey).toString("base64")}"}`;
    });
    harness.write("checkpoints.jsonl", forged.map((line) => `${line}\n`).join(""));
    const { findings } = await harness.verify(external);
    expect(findings[0]!.text).toMatch(/recomputed all hashes/);
    expect(findings.map(({ position }) => position)).toContain("checkpoints.jsonl:1");
  });

  test("detects an older signed copy of all files", async () => {
    const harness = await AuditHarness.create();
    await harness.run(["a", "b"]);
    const [files, checkpoints] = [harness.files(), harness.read("checkpoints.jsonl")];
    await harness.run(["c"]);
    const external = harness.checkpoints().slice(-1);
    harness.writeFiles(files);
    harness.write("checkpoints.jsonl", checkpoints);
    expect((await harness.verify()).findings).toEqual([]);
    const { findings } = await harness.verify(external);
    expect(findings[0]!.text).toMatch(/^lines after this one were removed/);
  });

  test("detects a checkpoint that was changed in transit", async () => {
    const { harness, external } = await harnessWithTrail();
    const changes = [
      external[0]!.replace(/"count":\d+/, '"count":2'),
      external[0]!.replace(/"time":"2/, '"time":"1'),
    ];
    for (const line of changes) {
      const { findings } = await harness.verify([line]);
      expect(findings).toMatchObject([{ position: "kept.jsonl:1" }]);
    }
  });
});

describe("checkpoints.jsonl", () => {
  test("detects any flipped byte in its line", async () => {
    const harness = await AuditHarness.create();
    await harness.run(["a"]);
    const bytes = Buffer.from(harness.read("checkpoints.jsonl"));
    let line = 1;
    // The last line feed belongs to a line being written.
    for (let position = 0; position < bytes.length - 1; position++) {
      const former = bytes[position]!;
      bytes[position] = former ^ (1 << (position % 7));
      harness.write("checkpoints.jsonl", bytes);
      expect([position, await firstPosition(harness, [])]).toEqual([
        position,
        `checkpoints.jsonl:${line}`,
      ]);
      bytes[position] = former;
      if (former === 0x0a) line++;
    }
  });

  test("detects its truncation by the event that announced the end", async () => {
    const { harness } = await harnessWithTrail();
    const lines = harness.checkpoints();
    for (const remaining of [[], lines.slice(0, 1), lines.slice(0, -2)]) {
      harness.write("checkpoints.jsonl", remaining.map((line) => `${line}\n`).join(""));
      expect(await firstPosition(harness, [])).toBe("checkpoints.jsonl");
    }
    rmSync(join(harness.logDir, "audit/checkpoints.jsonl"));
    expect(await firstPosition(harness, [])).toBe("checkpoints.jsonl");
  });

  test("checkpoints of another gateway with this key that arrive as events raise no alarm", async () => {
    const harness = await AuditHarness.create();
    await harness.run(["x", "y", "z"]);
    const foreign = parseCheckpointLine(harness.checkpoints().at(-1)!)!;
    rmSync(harness.logDir, { recursive: true });
    await harness.run(["a"]);
    const running = await harness.start();
    await running.gateway.intake.records([checkpointEvent(foreign)]);
    await running.stop();
    expect((await harness.verify()).findings).toEqual([]);
  });
});
