/** An intruder who can write to the log directory, knows the formats and recomputes all hashes: no result is proven. */

import { generateKeyPairSync, sign } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { parseCheckpointLine } from "../../src/audit/checkpoint.ts";
import { checkpointEvent } from "../../src/audit/trail-events.ts";
import {
  AuditHarness,
  exitCodeOf,
  logEvents,
  rechain,
  freezeClock,
} from "../harness/audit-trail.ts";

vi.setConfig({ testTimeout: 120_000 });

type Files = Map<string, string[]>;

const FORGER = generateKeyPairSync("ed25519").privateKey;

interface Trail {
  readonly files: Files;
  readonly checkpoints: readonly string[];
  readonly keys: ReadonlyMap<string, string>;
}

/** Creates a trail of four days with a restart on one of them. */
async function trailOfGateways(): Promise<Trail> {
  const setDay = freezeClock();
  const harness = await AuditHarness.create();
  await harness.run(["a", "b", "c"]);
  setDay(1);
  await harness.run(["d", "e"]);
  await harness.run(["f"]);
  setDay(2);
  await harness.run(["g"]);
  setDay(3);
  await harness.run(["h"]);
  expect(exitCodeOf(await harness.verify())).toBe(0);
  const names = ["audit-key.pem", "audit-key.pub.pem"];
  const keys = names.map(
    (name) => [name, readFileSync(harness.workspace.path(`keys/${name}`), "utf8")] as const,
  );
  return { files: harness.files(), checkpoints: harness.checkpoints(), keys: new Map(keys) };
}

let made: Promise<Trail> | undefined;

/** Creates a workspace with a copy of the trail. */
async function harnessWithTrail(): Promise<{
  harness: AuditHarness;
  files: Files;
  checkpoints: readonly string[];
}> {
  const { files, checkpoints, keys } = await (made ??= trailOfGateways());
  const harness = await AuditHarness.create();
  for (const [name, text] of keys) await harness.workspace.write(`keys/${name}`, text);
  return { harness, files, checkpoints };
}

function copyOf(files: Files): Files {
  return new Map([...files].map(([file, lines]) => [file, [...lines]]));
}

/** Replaces the line with that number, counted over all files. */
function editLine(files: Files, number: number, edit: (line: string) => string[]): void {
  let rest = number;
  for (const lines of files.values()) {
    if (rest < lines.length) return void lines.splice(rest, 1, ...edit(lines[rest]!));
    rest -= lines.length;
  }
}

function lineCount(files: Files): number {
  return [...files.values()].flat().length;
}

function withOtherText(line: string): string {
  return line.replace(/"event":"/, '"event":"not ');
}

type Forge = (files: Files, number: number) => void;

const FORGERIES: Record<string, Forge> = {
  "changes a line": (files, number) => editLine(files, number, (line) => [withOtherText(line)]),
  "removes a line": (files, number) => editLine(files, number, () => []),
  "doubles a line": (files, number) => editLine(files, number, (line) => [line, line]),
  "adds a line": (files, number) => editLine(files, number, (line) => [line, withOtherText(line)]),
  "swaps two lines": (files, number) => {
    const all = [...files.values()].flat();
    const [one, other] = [all[number]!, all[(number + 1) % all.length]!];
    editLine(files, number, () => [other]);
    editLine(files, (number + 1) % all.length, () => [one]);
  },
  "removes all from a line on": (files, number) => {
    for (let left = lineCount(files) - number; left > 0; left--) editLine(files, number, () => []);
  },
  "removes the first day": (files) => void files.delete([...files.keys()][0]!),
  "takes the seal of the first lines away": (files, number) => {
    for (let index = 0; index <= number; index++) {
      editLine(files, index, (line) => [
        `${withOtherText(line).slice(0, line.lastIndexOf(',"seq":'))}}`,
      ]);
    }
  },
};

function withoutAnnouncements(files: Files): Files {
  return new Map(
    [...files].map(([file, lines]) => [file, lines.filter((line) => !isAnnouncement(line))]),
  );
}

function isAnnouncement(line: string): boolean {
  return line.includes('"logger":"orchestrator.audit.checkpoint"');
}

/** Returns the checkpoints with the forged trail's hashes, signed with another key under the gateway's id. */
function resigned(checkpoints: readonly string[], files: Files): string[] {
  const heads = [...files.values()].flat().map((line) => line.slice(-66, -2));
  return checkpoints.map((line, index) => {
    const signed = line
      .slice(0, line.indexOf(',"signature"'))
      .replace(/"head":"\w+"/, `"head":"${heads[index] ?? heads[0]}"`);
    return `${signed},"signature":"${sign(null, Buffer.from(signed), FORGER).toString("base64")}"}`;
  });
}

async function exitCode(
  harness: AuditHarness,
  files: Files,
  checkpoints: readonly string[] | undefined,
): Promise<number> {
  const directory = join(harness.logDir, "audit");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  harness.writeFiles(files);
  if (checkpoints !== undefined) {
    harness.write("checkpoints.jsonl", checkpoints.map((line) => `${line}\n`).join(""));
  }
  return exitCodeOf(await harness.verify());
}

test("no forged trail is proven, with any subset of its checkpoints", async () => {
  const { harness, files, checkpoints } = await harnessWithTrail();
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(FORGERIES)),
      fc.nat(lineCount(files) - 1),
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom("deleted", "emptied", "left as they were", "signed anew"),
      async (name, number, renumber, isBare, fate) => {
        const edited = copyOf(files);
        FORGERIES[name]!(edited, number);
        const forged = rechain(isBare ? withoutAnnouncements(edited) : edited, { renumber });
        fc.pre([...forged.values()].join() !== [...files.values()].join());
        const left = {
          deleted: undefined,
          emptied: [],
          "left as they were": checkpoints,
          "signed anew": resigned(checkpoints, forged),
        }[fate];
        expect(await exitCode(harness, forged, left)).not.toBe(0);
      },
    ),
    { numRuns: 100 },
  );
});

test("a changed event is detected by the checkpoints in the files if the others are deleted", async () => {
  const { harness, files } = await harnessWithTrail();
  const all = [...files.values()].flat();
  const last = all.findLastIndex(isAnnouncement);
  for (let number = 0; number < last; number++) {
    const forged = copyOf(files);
    editLine(forged, number, (line) => [withOtherText(line)]);
    if (isAnnouncement(all[number]!)) continue;
    expect([number, await exitCode(harness, rechain(forged), undefined)]).toEqual([number, 1]);
    const { findings } = await harness.verify();
    expect(findings[0]!.text).toMatch(/is not the one that the checkpoint of .* has signed/);
  }
});

test("truncated checkpoints do not hide a change after the last remaining one", async () => {
  const { harness, files, checkpoints } = await harnessWithTrail();
  await fc.assert(
    fc.asyncProperty(
      fc.nat(lineCount(files) - 1),
      fc.integer({ min: 1, max: checkpoints.length - 1 }),
      fc.constantFrom("changes a line", "removes a line", "adds a line", "swaps two lines"),
      async (number, left, name) => {
        const all = [...files.values()].flat();
        const newest = parseCheckpointLine(checkpoints[left - 1]!)!;
        // Lines after the last announcement could come from a gateway that was killed within the minute.
        fc.pre(number < all.findLastIndex(isAnnouncement) - 1 && !isAnnouncement(all[number]!));
        const forged = copyOf(files);
        FORGERIES[name]!(forged, number);
        const code = await exitCode(harness, rechain(forged), checkpoints.slice(0, left));
        expect([newest.seq, code]).toEqual([newest.seq, 1]);
      },
    ),
    { numRuns: 60 },
  );
});

test("a file renamed to another day is detected, as are lines moved to another day's file", async () => {
  const { harness, files, checkpoints } = await harnessWithTrail();
  const names = [...files.keys()];
  // Keeps the order of the files.
  for (const [name, other] of [
    [names.at(0)!, "audit_20261123.jsonl"],
    [names.at(-1)!, "audit_20261128.jsonl"],
  ] as const) {
    const renamed = new Map(
      [...files].map(([file, lines]) => [file === name ? other : file, lines]),
    );
    expect([name, await exitCode(harness, renamed, checkpoints)]).toEqual([name, 1]);
    const { findings } = await harness.verify();
    expect(findings[0]).toMatchObject({
      position: expect.stringContaining(other),
      text: expect.stringMatching(/the file was renamed, or lines were moved/),
    });
  }
  for (const [from, to] of [
    [0, 1],
    [1, 0],
    [1, 2],
    [2, 1],
  ] as const) {
    for (let count = 1; count <= files.get(names[from]!)!.length; count++) {
      const moved = copyOf(files);
      const [source, target] = [moved.get(names[from]!)!, moved.get(names[to]!)!];
      if (from < to) target.unshift(...source.splice(-count));
      else target.push(...source.splice(0, count));
      const code = await exitCode(harness, moved, checkpoints);
      expect([from, to, count, code]).toEqual([from, to, count, 1]);
    }
  }
});

test("days of events without a checkpoint are detected", async () => {
  const { harness, files, checkpoints } = await harnessWithTrail();
  const first = checkpoints.slice(0, 1);
  const [day] = files.entries();
  const bare = rechain(new Map([...withoutAnnouncements(files), day!]));
  expect(await exitCode(harness, bare, first)).toBe(69);
  expect((await harness.verify()).unproven).toMatch(/the files of 3 days have lines after that/);
});

test("checkpoints of other gateways with this key raise no alarm, covered or not", async () => {
  const other = await AuditHarness.create();
  await other.run(["x", "y"]);
  await other.run(["z"]);
  const foreign = other.checkpoints().map((line) => parseCheckpointLine(line)!);
  other.clear();
  const { gateway } = await other.start();
  const forwarded = foreign.map(checkpointEvent);
  for (const record of forwarded) record.attributes.set("log.record.uid", "of-the-other:1");
  await gateway.intake.records(forwarded);
  await gateway.flush(AbortSignal.timeout(10_000));
  // No checkpoint exists yet.
  expect(exitCodeOf(await other.verify())).toBe(69);
  await gateway.stop();
  expect(exitCodeOf(await other.verify())).toBe(0);
  const again = await other.start();
  await logEvents(again, ["a", "b", "c", "d", "e", "f", "g"]);
  await again.gateway.intake.records(foreign.map(checkpointEvent));
  await again.gateway.flush(AbortSignal.timeout(10_000));
  const live = await other.verify();
  expect([live.findings, live.chain.lines > live.chain.proven!.lines]).toEqual([[], true]);
  expect(exitCodeOf(live)).toBe(0);
});
