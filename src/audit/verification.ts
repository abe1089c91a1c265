import { setTimeout as wait } from "node:timers/promises";
import { TailgateError } from "../wire/errors.ts";
import type { Anchor } from "./anchor.ts";
import { keptAnchors, ownAnchors } from "./anchors.ts";
import { causeOf, misplaced } from "./break-cause.ts";
import { ChainCheck } from "./chain-check.ts";
import { CHECKPOINTS_NAME } from "./checkpoint-file.ts";
import { EmbeddedCheckpoints } from "./embedded-checkpoints.ts";
import { counted, placeText, type Finding } from "./finding.ts";
import { KeyChanges } from "./key-change.ts";
import { mayBeOwnEvent } from "./own-event.ts";
import type { PublicKey } from "./public-key.ts";
import { Trail, type IncompleteLine } from "./trail.ts";

const POLL_MS = 100;

/** A gateway signs within a minute, and the end of each day: more days' files without a checkpoint cannot be its work. */
const UNCOVERED_DAYS_MAX = 2;

export interface VerificationOptions {
  readonly logDir: string;
  /** Those that are trusted. */
  readonly keys: readonly PublicKey[];
  /** Files with checkpoints that were kept elsewhere. */
  readonly kept: readonly string[];
  /** How long is waited for lines that a gateway at work has signed and not yet written. */
  readonly patienceMs: number;
}

/** What the files have shown. */
export interface Verification {
  /** What does not hold; empty where all does. */
  readonly findings: readonly Finding[];
  readonly check: ChainCheck;
  /** Why the checkpoints do not prove the trail; undefined if they do. */
  readonly unproven: string | undefined;
  /** Changes of the signing key that the trail does not record. */
  readonly unrecordedKeys: readonly Finding[];
  /** Checkpoints of `checkpoints.jsonl`, and those from elsewhere. */
  readonly own: readonly Anchor[];
  readonly kept: readonly Anchor[];
  readonly files: readonly string[];
  readonly bytes: number;
  readonly incomplete: IncompleteLine | undefined;
}

/**
 * Verifies an audit trail by its files alone. The checkpoints are read first: what they speak of is in the files then.
 * @throws TailgateError AUDIT_UNREADABLE
 */
export async function verify(options: VerificationOptions): Promise<Verification> {
  const { logDir, keys, patienceMs } = options;
  const own = ownAnchors(logDir, keys);
  const kept = await Promise.all(options.kept.map((path) => keptAnchors(path, keys)));
  const keptOnes = kept.flatMap(({ anchors }) => anchors);
  const anchors = sorted([...own.anchors, ...keptOnes]);
  const embedded = new EmbeddedCheckpoints(keys);
  const changes = new KeyChanges();
  const trail = new Trail(logDir);
  try {
    const read = new ChainCheck(anchors);
    await readAll(trail, { check: read, embedded, changes }, patienceMs);
    if (trail.files.length === 0 && anchors.length === 0 && own.findings.length === 0) {
      throw new TailgateError("AUDIT_UNREADABLE", `There is no audit trail in ${logDir}.`);
    }
    const { check, anchors: all } = withEmbedded(read, anchors, embedded, logDir);
    const firstSeq = check.firstSeq ?? Infinity;
    return {
      findings: [
        ...chainFindings(check, all, logDir),
        ...startFindings(check, all),
        ...endFindings(check, trail),
        ...own.findings,
        ...kept.flatMap(({ findings }) => findings),
        ...missingCheckpoints(embedded, check, options),
      ],
      check,
      unproven: check.isEnded ? undefined : unprovenBecause(check, own.anchors, options),
      unrecordedKeys: check.isEnded ? [] : changes.unrecorded(own.anchors, firstSeq),
      own: own.anchors,
      kept: keptOnes,
      files: trail.files,
      bytes: trail.bytes,
      incomplete: check.isEnded ? undefined : trail.incomplete,
    };
  } finally {
    trail.close();
  }
}

/** What reads each line. */
interface Readers {
  readonly check: ChainCheck;
  readonly embedded: EmbeddedCheckpoints;
  readonly changes: KeyChanges;
}

async function readAll(
  trail: Trail,
  { check, embedded, changes }: Readers,
  patienceMs: number,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    for (const line of trail.lines()) {
      const { held } = check;
      // Looked at before: the check of the next line writes over the end of this one.
      if (mayBeOwnEvent(line.memory.subarray(line.start, line.end))) {
        embedded.look(line);
        changes.look(line);
      }
      if (!check.take(line)) return;
      if (check.held > held) embedded.covered();
    }
    if (check.ahead.length === 0 || performance.now() >= deadline) return;
    await wait(POLL_MS);
  }
}

/** Checks again with the checkpoints in the trail that no other one covers: they are checked like the others. */
function withEmbedded(
  check: ChainCheck,
  anchors: readonly Anchor[],
  embedded: EmbeddedCheckpoints,
  logDir: string,
): { check: ChainCheck; anchors: readonly Anchor[] } {
  if (check.isEnded) return { check, anchors };
  const { countBefore, proven } = check;
  const known = { anchors, countBefore, isProven: proven !== undefined };
  const trail = new Trail(logDir);
  const again = new Trail(logDir);
  try {
    const found = embedded.anchors(known, () => trail);
    if (found.length === 0) return { check, anchors };
    const all = sorted([...anchors, ...found]);
    const second = new ChainCheck(all);
    for (const line of again.lines()) if (!second.take(line)) break;
    return { check: second, anchors: all };
  } finally {
    trail.close();
    again.close();
  }
}

function sorted(anchors: readonly Anchor[]): Anchor[] {
  return anchors.toSorted((one, other) => one.checkpoint.seq - other.checkpoint.seq);
}

function unprovenBecause(
  check: ChainCheck,
  own: readonly Anchor[],
  { keys }: VerificationOptions,
): string | undefined {
  if (check.proven === undefined) {
    if (check.lines === 0) return "It has no event with a hash.";
    if (keys.length === 0) return "There is no public key to check checkpoints with.";
    return own.length === 0
      ? `${CHECKPOINTS_NAME} has no checkpoint.`
      : "No event in the files is one that a checkpoint signs.";
  }
  if (check.uncoveredDays <= UNCOVERED_DAYS_MAX) return undefined;
  return `The newest checkpoint covers it up to ${placeText(check.proven.place)}, and the files of ${check.uncoveredDays} days have lines after that: a working gateway signs the end of each day.`;
}

function chainFindings(check: ChainCheck, anchors: readonly Anchor[], logDir: string): Finding[] {
  if (!check.isEnded) return check.findings;
  const opened: Trail[] = [];
  const newTrail = (): Trail => {
    const trail = new Trail(logDir);
    opened.push(trail);
    return trail;
  };
  try {
    if (check.break !== undefined) {
      return [...check.findings, causeOf(check.break, anchors, newTrail)];
    }
    const { doubtful } = check;
    const cause = doubtful && misplaced(doubtful, newTrail());
    return cause === undefined ? check.findings : [...check.findings.slice(0, -1), cause];
  } finally {
    for (const trail of opened) trail.close();
  }
}

/** A gateway that signs leaves a checkpoint of the end of each day, also where retention deletes the day's file. */
function startFindings(check: ChainCheck, anchors: readonly Anchor[]): Finding[] {
  if (check.isEnded || check.start !== "unknown" || anchors.length === 0) return [];
  const { legacy } = check;
  const place = placeText(check.first!);
  const text =
    "it is not the very first event, and no checkpoint tells what was before: this line was changed, or lines before it were removed, or they are from a time without checkpoints.";
  if (legacy === undefined) return [{ place, text }];
  const before = `${counted(legacy.lines, "line")} before ${place} ${legacy.lines === 1 ? "has" : "have"} no seq and no hash, and the chain does not begin at ${place}: someone may have removed them from the lines, or changed the lines.`;
  return [
    { place: placeText(legacy.first), text: before },
    { place, text },
  ];
}

/** Where all lines fit, and a checkpoint speaks of more. */
function endFindings(check: ChainCheck, trail: Trail): Finding[] {
  const newest = check.ahead.at(-1);
  if (check.isEnded || newest === undefined) return [];
  const { last, ahead } = check;
  const place = trail.incomplete ?? last?.place;
  const end = last === undefined ? "there is none" : `the last one is event ${last.seq}`;
  const cut = trail.incomplete === undefined ? "" : " The file was cut within a line.";
  return [
    {
      place: place === undefined ? "audit" : placeText(place),
      text: `lines behind this one were removed: ${counted(ahead.length, "checkpoint")} (${ahead[0]!.source}) ${ahead.length === 1 ? "speaks" : "speak"} of events up to ${newest.checkpoint.seq}, and ${end}.${cut} (Only after a crash, and before the gateway has started again, may the journal have them still.)`,
    },
  ];
}

function missingCheckpoints(
  embedded: EmbeddedCheckpoints,
  check: ChainCheck,
  { logDir, keys }: VerificationOptions,
): Finding[] {
  if (check.isEnded) return [];
  const trail = new Trail(logDir);
  try {
    // Read again: a gateway at work may have added some.
    const { anchors } = ownAnchors(logDir, keys);
    const missing = embedded.missingFrom(anchors, () => trail);
    if (missing === undefined) return [];
    const { place, checkpoint } = missing;
    const text = `checkpoints were removed here: the trail has the one of ${checkpoint.time} as event at ${placeText(place)}, and this file has it not, nor a newer one.`;
    return [{ place: CHECKPOINTS_NAME, text }];
  } finally {
    trail.close();
  }
}
