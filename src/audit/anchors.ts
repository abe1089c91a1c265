/**
 * Anchors: checkpoints with a valid signature, which the hash chain is compared with. They come from the gateway's own
 * `checkpoints.jsonl`, from external files, and from the events in the trail itself.
 */

import { createReadStream, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { TailgateError, textOf } from "../wire/errors.ts";
import { AUDIT_DIRECTORY, CHECKPOINTS_NAME, READ_FLAGS } from "./checkpoint-file.ts";
import { findCheckpoints, parseCheckpointLine, type Checkpoint } from "./checkpoint.ts";
import type { PublicKey } from "./public-keys.ts";
import { CHECKPOINT_LOGGER } from "./trail-events.ts";
import {
  formatPosition,
  parseLink,
  trailLines,
  type LinePosition,
  type TrailFinding,
  type TrailLine,
} from "./trail.ts";

export interface Anchor {
  readonly checkpoint: Checkpoint;
  /** The file and line that it was read from: `checkpoints.jsonl:3`. */
  readonly source: string;
}

/** The anchors from one source, and findings about its other lines. */
export interface AnchorSet {
  readonly anchors: readonly Anchor[];
  readonly findings: readonly TrailFinding[];
}

/** Returns the anchor's description for messages. */
export function describeAnchor({ checkpoint, source }: Anchor): string {
  return `the checkpoint of ${checkpoint.time} (${source})`;
}

/** Returns the anchor with the highest sequence before `seq`. */
export function anchorBefore(anchors: readonly Anchor[], seq: number): Anchor | undefined {
  return anchors.findLast(({ checkpoint }) => checkpoint.seq < seq);
}

/**
 * Reads the trail's own checkpoints. An unterminated last line is ignored: it is being written, or left over from a
 * crash.
 */
export function readOwnAnchors(logDir: string, keys: readonly PublicKey[]): AnchorSet {
  const text = readIfExists(join(logDir, AUDIT_DIRECTORY, CHECKPOINTS_NAME));
  return verifySignatures(
    text
      .split("\n")
      .slice(0, -1)
      .map((line, index) => ({
        checkpoint: parseCheckpointLine(line),
        source: `${CHECKPOINTS_NAME}:${index + 1}`,
      })),
    keys,
  );
}

/**
 * Reads the checkpoints in a file that was stored elsewhere.
 * @throws TailgateError AUDIT_UNREADABLE if the file has none.
 */
export async function readExternalAnchors(
  path: string,
  keys: readonly PublicKey[],
): Promise<AnchorSet> {
  const found: Anchor[] = [];
  try {
    let number = 0;
    for await (const line of createInterface({ input: createReadStream(path) })) {
      const source = `${basename(path)}:${++number}`;
      if (!line.includes("signature")) continue;
      for (const checkpoint of findCheckpoints(line)) found.push({ checkpoint, source });
    }
  } catch (error) {
    throw new TailgateError("AUDIT_UNREADABLE", `${path} cannot be read: ${textOf(error)}.`);
  }
  if (found.length > 0) return verifySignatures(found, keys);
  const text = `${path} contains no checkpoint: neither a line of ${CHECKPOINTS_NAME} nor an audit_checkpoint event.`;
  throw new TailgateError("AUDIT_UNREADABLE", text);
}

function verifySignatures(
  found: readonly { readonly checkpoint: Checkpoint | undefined; readonly source: string }[],
  keys: readonly PublicKey[],
): AnchorSet {
  const anchors: Anchor[] = [];
  const findings: TrailFinding[] = [];
  for (const { checkpoint, source } of found) {
    // Without any key, a checkpoint proves nothing, but a trail that contradicts it was changed.
    const isUnverifiable = checkpoint !== undefined && keys.length === 0;
    const text = isUnverifiable ? undefined : checkpointFlaw(checkpoint, keys);
    if (text !== undefined) findings.push({ position: source, text });
    else anchors.push({ checkpoint: checkpoint!, source });
  }
  return { anchors, findings };
}

function checkpointFlaw(
  checkpoint: Checkpoint | undefined,
  keys: readonly PublicKey[],
): string | undefined {
  if (checkpoint === undefined) return "this line was changed: it is not a checkpoint.";
  const key = keys.find(({ id }) => id === checkpoint.key);
  if (key === undefined) {
    return `this checkpoint is signed with the key ${checkpoint.key}, which was not given: pass its public key with --key. If you do not know the key, someone else has signed it.`;
  }
  if (key.hasSigned(checkpoint)) return undefined;
  return "this checkpoint was changed: its signature does not match its contents.";
}

function readIfExists(path: string): string {
  try {
    return readFileSync(path, { encoding: "utf8", flag: READ_FLAGS as never });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new TailgateError("AUDIT_UNREADABLE", `${path} cannot be read: ${textOf(error)}.`);
  }
}

const CHECKPOINT_EVENT_MARKER = Buffer.from(`"logger":"${CHECKPOINT_LOGGER}"`);

/** The members of the event that a gateway logs for its own checkpoint. A forwarded event has additional ones. */
const OWN_EVENT_MEMBERS = "timestamp,level,event,logger,event_type,details,seq,hash";

interface EmbeddedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly position: LinePosition;
  /** The sequence of the event that contains it. */
  readonly seq: number;
  readonly hasOwnEventMembers: boolean;
}

/** An event of the trail, and the number of events up to and including it; Infinity if unknown. */
interface CountedEvent {
  readonly hash: string;
  readonly count: number;
}

/** What is known about the trail when its embedded checkpoints are evaluated. */
export interface TrailContext {
  /** Anchors that were compared with the trail. */
  readonly anchors: readonly Anchor[];
  /** The number of events before the trail's first line; undefined if unknown. */
  readonly countBefore: number | undefined;
  readonly isProven: boolean;
}

/**
 * The checkpoints that the trail itself contains as events. Anyone can log such an event, and it may have been forwarded
 * by another gateway. So one is used as an anchor only if there is no other explanation for it: see {@link anchors}.
 */
export class EmbeddedCheckpoints {
  readonly #keys: readonly PublicKey[];
  /** The newest of each epoch. */
  readonly #newest = new Map<string, EmbeddedCheckpoint>();
  /** Those in events that no checkpoint covers yet. */
  #uncovered: EmbeddedCheckpoint[] = [];

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  inspect(line: TrailLine): void {
    const bytes = line.memory.subarray(line.start, line.end);
    if (!bytes.includes(CHECKPOINT_EVENT_MARKER)) return;
    const link = parseLink(line);
    const text = bytes.toString("utf8");
    const [checkpoint] = findCheckpoints(text);
    if (link === undefined || checkpoint === undefined) return;
    if (!this.#keys.some(({ id }) => id === checkpoint.key)) return;
    const embedded = {
      checkpoint,
      position: { file: line.file, line: line.line },
      seq: link.seq,
      hasOwnEventMembers: Object.keys(JSON.parse(text) as object).join() === OWN_EVENT_MEMBERS,
    };
    this.#newest.set(checkpoint.epoch, embedded);
    this.#uncovered.push(embedded);
  }

  /**
   * To be called when a checkpoint covers all events so far. They are genuine, so a checkpoint in them that does not
   * match comes from another gateway.
   */
  covered(): void {
    this.#uncovered = [];
  }

  /**
   * Returns the checkpoints of this trail that were not compared with it yet. A checkpoint whose hash occurs in the trail
   * is one of them. So is one that contradicts the trail, unless it may come from another gateway.
   */
  anchors({ anchors, countBefore, isProven }: TrailContext, logDir: string): Anchor[] {
    const compared = new Set(anchors.map(({ checkpoint }) => checkpoint.signature));
    const candidates = this.#uncovered.filter(
      ({ checkpoint }) => !compared.has(checkpoint.signature) && this.#isSigned(checkpoint),
    );
    if (candidates.length === 0) return [];
    const events = readEvents(candidates, logDir, countBefore);
    const isMatch = ({ checkpoint }: EmbeddedCheckpoint): boolean =>
      events.get(checkpoint.seq)?.hash === checkpoint.head;
    const matches = candidates.filter(isMatch);
    const epochs = new Set([...anchors, ...matches].map(({ checkpoint }) => checkpoint.epoch));
    const own = candidates.filter((one) => {
      if (isMatch(one) || epochs.has(one.checkpoint.epoch)) return true;
      // Nothing else here is of that epoch. The less other evidence there is, the less is required of it.
      const hasOtherEvidence = isProven || matches.length > 0;
      const isCounted = events.get(one.checkpoint.seq)?.count === one.checkpoint.count;
      return isPlausible(one, events) && (isCounted || !hasOtherEvidence);
    });
    return own.map(({ checkpoint, position }) => ({
      checkpoint,
      source: formatPosition(position),
    }));
  }

  /** Returns the newest checkpoint of this trail if it is newer than all of `own`, which were truncated then. */
  missingFrom(own: readonly Anchor[], logDir: string): EmbeddedCheckpoint | undefined {
    const newest = own.reduce((seq, { checkpoint }) => Math.max(seq, checkpoint.seq), 0);
    const candidates = [...this.#newest.values()].filter(
      ({ checkpoint }) => checkpoint.seq > newest && this.#isSigned(checkpoint),
    );
    if (candidates.length === 0) return undefined;
    const heads = new Map(candidates.map((embedded) => [embedded.checkpoint.head, embedded]));
    let missing: EmbeddedCheckpoint | undefined;
    for (const line of trailLines(logDir)) {
      const link = parseLink(line);
      missing = (link && heads.get(link.hash)) ?? missing;
    }
    return missing;
  }

  #isSigned(checkpoint: Checkpoint): boolean {
    return this.#keys.some((key) => key.id === checkpoint.key && key.hasSigned(checkpoint));
  }
}

/**
 * Returns whether a gateway could have logged this checkpoint of its own there: it signs earlier events, and no more than
 * there are.
 */
function isPlausible(
  { checkpoint, seq, hasOwnEventMembers }: EmbeddedCheckpoint,
  events: ReadonlyMap<number, CountedEvent>,
): boolean {
  const countBefore = (events.get(seq)?.count ?? 1) - 1;
  return hasOwnEventMembers && checkpoint.seq < seq && checkpoint.count <= countBefore;
}

/** Reads the events that contain the checkpoints, and those that they sign, by sequence. */
function readEvents(
  candidates: readonly EmbeddedCheckpoint[],
  logDir: string,
  countBefore = Infinity,
): Map<number, CountedEvent> {
  const wanted = new Set(candidates.flatMap(({ seq, checkpoint }) => [seq, checkpoint.seq]));
  const found = new Map<number, CountedEvent>();
  let count = countBefore;
  for (const line of trailLines(logDir)) {
    const link = parseLink(line);
    if (link === undefined) continue;
    count++;
    if (wanted.has(link.seq)) found.set(link.seq, { hash: link.hash, count });
  }
  return found;
}
