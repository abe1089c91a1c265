import { setTimeout as wait } from "node:timers/promises";
import { TailgateError } from "../errors.ts";
import type { Anchor } from "./anchor.ts";
import { keptAnchors, ownAnchors } from "./anchors.ts";
import { causeOf, misplaced } from "./break-cause.ts";
import { ChainCheck } from "./chain-check.ts";
import { CHECKPOINTS_NAME } from "./checkpoint-file.ts";
import { EmbeddedCheckpoints } from "./embedded-checkpoints.ts";
import { counted, placeText, type Finding } from "./finding.ts";
import type { PublicKey } from "./public-key.ts";
import { Trail, type IncompleteLine } from "./trail.ts";

const POLL_MS = 100;

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
  const anchors = [...own.anchors, ...keptOnes].sort(
    (one, other) => one.checkpoint.seq - other.checkpoint.seq,
  );
  const check = new ChainCheck(anchors);
  const embedded = new EmbeddedCheckpoints(keys);
  const trail = new Trail(logDir);
  try {
    await readAll(trail, check, embedded, patienceMs);
    if (trail.files.length === 0 && anchors.length === 0 && own.findings.length === 0) {
      throw new TailgateError("AUDIT_UNREADABLE", `There is no audit trail in ${logDir}.`);
    }
    return {
      findings: [
        ...chainFindings(check, anchors, logDir),
        ...startFindings(check, anchors),
        ...endFindings(check, trail),
        ...own.findings,
        ...kept.flatMap(({ findings }) => findings),
        ...missingCheckpoints(embedded, check, options),
      ],
      check,
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

async function readAll(
  trail: Trail,
  check: ChainCheck,
  embedded: EmbeddedCheckpoints,
  patienceMs: number,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    for (const line of trail.lines()) {
      // Looked at before: the check of the next line writes over the end of this one.
      embedded.look(line);
      if (!check.take(line)) return;
    }
    if (check.ahead.length === 0 || performance.now() >= deadline) return;
    await wait(POLL_MS);
  }
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
  const text =
    "it is not the very first event, and no checkpoint tells what was before: this line was changed, or lines before it were removed, or they are from a time without checkpoints.";
  return [{ place: placeText(check.first!), text }];
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
