import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testHost } from "tailgate/testing";
import auditExporter from "../../../plugins/audit-file.ts";
import { verify, type Verification } from "../../../src/audit/verification.ts";
import { TailgateError } from "tailgate";
import { batchOf } from "tailgate/testing";
import { makeTrail, PUBLIC_KEY, rechain, type MadeTrail, type TrailFiles } from "../audit-trail.ts";
import { mutated } from "../mutation.ts";
import type { Random } from "../random.ts";
import type { FuzzTarget, Timed } from "../target.ts";

/** Contents of files by name, with each byte as a Latin-1 character. An input is such an object as JSON. */
type Names = Readonly<Record<string, string>>;

/** Audit files that were tampered with or cut off by a crash. Verification detects changes; the exporter loses nothing. */
export function auditFile(): FuzzTarget {
  const trail = latin1(makeTrail());
  const directory = new TrailDirectory(trail.kept);
  return {
    input: (random) => Buffer.from(JSON.stringify(Object.fromEntries(changed(trail, random)))),
    check: (input, timed) => check(input, trail, directory, timed),
    close: () => directory.close(),
  };
}

function latin1({ files, lines, kept }: MadeTrail): MadeTrail {
  const of = (text: string): string => Buffer.from(text).toString("latin1");
  const all = [...files].map(([name, text]) => [name, of(text)] as const);
  return { files: new Map(all), lines: lines.map(of), kept };
}

type Change = (files: Map<string, string>, name: string, random: Random) => void;

const CHANGES: readonly Change[] = [
  (files, name, random) => {
    files.set(name, mutated(Buffer.from(files.get(name)!, "latin1"), random).toString("latin1"));
  },
  (files, name, random) =>
    changeLines(files, name, (lines) => lines.splice(random.below(lines.length), 1)),
  (files, name, random) =>
    changeLines(files, name, (lines) => {
      lines.splice(random.below(lines.length + 1), 0, random.pick(lines));
    }),
  (files, name, random) =>
    changeLines(files, name, (lines) => {
      const [line = ""] = lines.splice(random.below(lines.length), 1);
      lines.splice(random.below(lines.length + 1), 0, line);
    }),
  (files, name, random) => {
    const other = random.pick([...files.keys()]);
    const text = files.get(name)!;
    files.set(name, files.get(other)!);
    files.set(other, text);
  },
  (files, name) => files.delete(name),
  (files, name, random) => {
    const text = files.get(name)!;
    files.delete(name);
    files.set(random.pick(OTHER_NAMES), text);
  },
  (files, name, random) =>
    changeLines(files, name, (lines) => {
      lines.splice(random.below(lines.length + 1), 0, random.pick(ODD_LINES));
    }),
  (files, name, random) => files.set(name, files.get(name)! + random.pick(ODD_LINES).slice(0, 30)),
  (files, name, random) => {
    const from = random.pick(["spawned", "worker", "INFO", '"n":1', "2026"]);
    files.set(name, files.get(name)!.replace(from, random.pick(["killed", "W", "", '"n":9'])));
  },
];

const OTHER_NAMES = [
  "audit_20261122.jsonl",
  "audit_20261126.jsonl",
  "audit_99999999.jsonl",
  "audit_20261124.jsonl.1",
];

const ODD_LINES = [
  ...["", "{}", "[]", "null", '{"event":"legacy"}', "\u0000", "not JSON", '{"seq":1,"hash":""}'],
  `{"a":1,"seq":9999999999999999,"hash":"${"0".repeat(64)}"}`,
  `{"logger":"orchestrator.audit.checkpoint","a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
  `{"event":"x","a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
  "x".repeat(100_000),
];

function changed({ files }: MadeTrail, random: Random): TrailFiles {
  const result = new Map(files);
  for (let left = random.below(4); left > 0 && result.size > 0; left--) {
    random.pick(CHANGES)(result, random.pick([...result.keys()]), random);
  }
  const made = random.once(4) ? rechain(result) : result;
  if (random.once(8)) made.delete("checkpoints.jsonl");
  return made;
}

function changeLines(
  files: Map<string, string>,
  name: string,
  change: (lines: string[]) => void,
): void {
  const lines = files.get(name)!.split("\n");
  const end = lines.pop()!;
  if (lines.length === 0) return;
  change(lines);
  files.set(name, [...lines, end].join("\n"));
}

/** Restarting the exporter is slow, so only one input in this many does it. */
const RESTART_EVERY = 50;

async function check(
  input: Uint8Array,
  trail: MadeTrail,
  directory: TrailDirectory,
  timed: Timed,
): Promise<void> {
  const files = namesOf(input);
  if (files === undefined) return;
  directory.hold(files);
  const verified = await verification(directory, timed);
  if (verified !== undefined && verified.findings.length === 0 && isAltered(files, trail)) {
    throw new Error("The trail verifies, although a line that a checkpoint covers was altered.");
  }
  if (input.length % RESTART_EVERY === 0) await checkRestart(files, directory, timed);
}

/** Returns undefined for invalid inputs, which shrinking can produce. */
function namesOf(input: Uint8Array): Names | undefined {
  try {
    const files = JSON.parse(Buffer.from(input).toString()) as Names;
    return Object.keys(files).every((name) => /^[\w.]+$/.test(name)) ? files : undefined;
  } catch {
    return undefined;
  }
}

/** Returns undefined if the files cannot be verified at all. */
async function verification(
  { logDir, kept }: TrailDirectory,
  timed: Timed,
): Promise<Verification | undefined> {
  const options = { logDir, keys: [PUBLIC_KEY], externalFiles: [kept], patienceMs: 0 };
  try {
    return await timed(() => verify(options));
  } catch (error) {
    if (TailgateError.is(error, "AUDIT_UNREADABLE")) return undefined;
    throw error;
  }
}

/**
 * Returns whether a line was changed or moved. The oldest files may be missing, because retention deletes them, and there
 * may be other lines before and after the trail, which no checkpoint covers.
 */
function isAltered(files: Names, { files: original }: MadeTrail): boolean {
  const names = Object.keys(files).filter((name) => /^audit_\d{8}\.jsonl$/.test(name));
  const found = names.sort().flatMap((name) => files[name]!.split("\n"));
  const whole = `\n${found.filter((line) => line !== "").join("\n")}\n`;
  const days = [...original].filter(([name]) => name.startsWith("audit_")).map(([, text]) => text);
  const ends = days.map((_, index) => days.slice(index).join(""));
  return !ends.some((end) => whole.includes(`\n${end}`));
}

const NEVER = new AbortController().signal;

/** Checks that an exporter that continues the files changes no existing bytes and writes complete lines. */
async function checkRestart(files: Names, directory: TrailDirectory, timed: Timed): Promise<void> {
  const host = await testHost("audit-file", { logDir: directory.logDir });
  try {
    const options = auditExporter.options.parse({ retention_days: 36_500 });
    const exporter = await timed(() => auditExporter.open(options, host));
    await exporter.write(batchOf([{ scope: AUDIT, body: "after" }]), NEVER);
    await exporter.close?.(NEVER);
  } finally {
    await host.close();
  }
  let written = 0;
  for (const [name, text] of Object.entries(directory.readAll())) {
    const before = files[name] ?? "";
    if (!text.startsWith(before)) throw new Error(`${name} was altered by a restart.`);
    const added = text.slice(before.length);
    if (added === "") continue;
    const line = before === "" || before.endsWith("\n") ? added : added.slice(1);
    JSON.parse(line);
    if (!line.endsWith("}\n")) throw new Error(`${name} does not end with a complete line.`);
    written++;
  }
  if (written !== 1) throw new Error(`The event was written to ${written} files.`);
}

const AUDIT = { name: "orchestrator.audit", version: "", attributes: new Map() };

/** A log directory with the audit files of the current input. */
class TrailDirectory {
  readonly logDir = mkdtempSync(join(tmpdir(), "tailgate-fuzz-audit-"));
  readonly kept = join(this.logDir, "kept.jsonl");
  readonly #directory = join(this.logDir, "audit");
  /** Current contents of the files; only differences are written. */
  readonly #held = new Map<string, string>();

  constructor(kept: string) {
    mkdirSync(this.#directory, { mode: 0o700 });
    writeFileSync(this.kept, `${kept}\n`);
  }

  hold(files: Names): void {
    for (const name of this.#held.keys()) {
      if (files[name] === undefined) this.#remove(name);
    }
    for (const [name, text] of Object.entries(files)) {
      if (this.#held.get(name) === text) continue;
      writeFileSync(join(this.#directory, name), Buffer.from(text, "latin1"));
      this.#held.set(name, text);
    }
  }

  #remove(name: string): void {
    rmSync(join(this.#directory, name));
    this.#held.delete(name);
  }

  /** Returns the contents after the exporter has written to the files. */
  readAll(): Names {
    for (const name of readdirSync(this.#directory)) {
      this.#held.set(name, readFileSync(join(this.#directory, name), "latin1"));
    }
    return Object.fromEntries(this.#held);
  }

  close(): Promise<void> {
    rmSync(this.logDir, { recursive: true, force: true });
    return Promise.resolve();
  }
}
