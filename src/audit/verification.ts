import { setTimeout as wait } from "node:timers/promises";
import { AUDIT_LOGGER } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";
import {
  describeAnchor,
  EmbeddedCheckpoints,
  readExternalAnchors,
  readOwnAnchors,
  type Anchor,
} from "./anchors.ts";
import { explainBreak, explainMisplaced } from "./chain-break.ts";
import { CHECKPOINTS_NAME } from "./checkpoint-file.ts";
import { HashChain } from "./hash-chain.ts";
import type { PublicKey } from "./public-keys.ts";
import { KEY_CHANGE_TYPE, KEY_LOGGER } from "./trail-events.ts";
import {
  counted,
  formatPosition,
  parseLink,
  trailLines,
  TrailReader,
  type IncompleteLine,
  type TrailFinding,
  type TrailLine,
} from "./trail.ts";

const POLL_MS = 100;

/** A gateway signs the end of each day and, within a minute, new events. So it cannot leave more days uncovered. */
const UNCOVERED_DAYS_MAX = 2;

export interface VerificationOptions {
  readonly logDir: string;
  /** The trusted keys. */
  readonly keys: readonly PublicKey[];
  /** Files with checkpoints that were stored elsewhere. */
  readonly externalFiles: readonly string[];
  /** How long to wait for lines that a running gateway has signed but not yet written. */
  readonly patienceMs: number;
}

/** The result of a verification. */
export interface Verification {
  /** Evidence of tampering or damage; empty if the trail is intact. */
  readonly findings: readonly TrailFinding[];
  readonly chain: HashChain;
  /** Why the checkpoints do not prove the trail; undefined if they do. */
  readonly unproven: string | undefined;
  /** Changes of the signing key that the trail does not record. */
  readonly unrecordedKeys: readonly TrailFinding[];
  /** Checkpoints in `checkpoints.jsonl`. */
  readonly own: readonly Anchor[];
  /** Checkpoints in external files. */
  readonly external: readonly Anchor[];
  readonly files: readonly string[];
  readonly bytes: number;
  readonly incomplete: IncompleteLine | undefined;
}

/**
 * Verifies an audit trail from its files alone. The checkpoints are read first, so that the events that they sign are in
 * the files already.
 * @throws TailgateError AUDIT_UNREADABLE
 */
export async function verify(options: VerificationOptions): Promise<Verification> {
  const { logDir, keys, patienceMs } = options;
  const own = readOwnAnchors(logDir, keys);
  const externalSets = await Promise.all(
    options.externalFiles.map((path) => readExternalAnchors(path, keys)),
  );
  const external = externalSets.flatMap(({ anchors }) => anchors);
  const anchors = sortBySequence([...own.anchors, ...external]);
  const embedded = new EmbeddedCheckpoints(keys);
  const keyChanges = new KeyChanges();
  using trail = new TrailReader(logDir);
  const firstPass = new HashChain(anchors);
  await readTrail(trail, firstPass, embedded, keyChanges, patienceMs);
  if (trail.files.length === 0 && anchors.length === 0 && own.findings.length === 0) {
    throw new TailgateError("AUDIT_UNREADABLE", `There is no audit trail in ${logDir}.`);
  }
  const { chain, anchors: all } = verifyEmbedded(firstPass, anchors, embedded, logDir);
  const firstSeq = chain.firstSeq ?? Infinity;
  return {
    findings: [
      ...chainFindings(chain, all, logDir),
      ...startFindings(chain, all),
      ...endFindings(chain, trail),
      ...own.findings,
      ...externalSets.flatMap(({ findings }) => findings),
      ...missingCheckpoints(embedded, chain, options),
    ],
    chain,
    unproven: chain.isEnded ? undefined : whyUnproven(chain, own.anchors, options),
    unrecordedKeys: chain.isEnded ? [] : keyChanges.unrecorded(own.anchors, firstSeq),
    own: own.anchors,
    external,
    files: trail.files,
    bytes: trail.bytes,
    incomplete: chain.isEnded ? undefined : trail.incomplete,
  };
}

/** A cheap test: most lines do not contain an event of the gateway's own. */
const OWN_EVENT_MARKER = Buffer.from(`"logger":"${AUDIT_LOGGER}.`);

async function readTrail(
  trail: TrailReader,
  chain: HashChain,
  embedded: EmbeddedCheckpoints,
  keyChanges: KeyChanges,
  patienceMs: number,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    for (const line of trail.lines()) {
      const { comparedAnchors } = chain;
      // Inspected first: verifying the next line overwrites the end of this one.
      if (line.memory.subarray(line.start, line.end).includes(OWN_EVENT_MARKER)) {
        embedded.inspect(line);
        keyChanges.inspect(line);
      }
      if (!chain.verify(line)) return;
      if (chain.comparedAnchors > comparedAnchors) embedded.covered();
    }
    if (chain.ahead.length === 0 || performance.now() >= deadline) return;
    await wait(POLL_MS);
  }
}

/** Verifies the chain again if the trail contains checkpoints that no other one covers, with these as anchors too. */
function verifyEmbedded(
  firstPass: HashChain,
  anchors: readonly Anchor[],
  embedded: EmbeddedCheckpoints,
  logDir: string,
): { chain: HashChain; anchors: readonly Anchor[] } {
  if (firstPass.isEnded) return { chain: firstPass, anchors };
  const { countBefore, proven } = firstPass;
  const context = { anchors, countBefore, isProven: proven !== undefined };
  const found = embedded.anchors(context, logDir);
  if (found.length === 0) return { chain: firstPass, anchors };
  const all = sortBySequence([...anchors, ...found]);
  const chain = new HashChain(all);
  for (const line of trailLines(logDir)) if (!chain.verify(line)) break;
  return { chain, anchors: all };
}

function sortBySequence(anchors: readonly Anchor[]): Anchor[] {
  return anchors.toSorted((one, other) => one.checkpoint.seq - other.checkpoint.seq);
}

function whyUnproven(
  chain: HashChain,
  own: readonly Anchor[],
  { keys }: VerificationOptions,
): string | undefined {
  if (chain.lines === 0) return "It has no event with a hash.";
  if (keys.length === 0) return "There is no public key to verify checkpoints with.";
  if (chain.proven === undefined) {
    return own.length === 0
      ? `${CHECKPOINTS_NAME} has no checkpoint.`
      : "No checkpoint signs an event in the files.";
  }
  if (chain.uncoveredDays <= UNCOVERED_DAYS_MAX) return undefined;
  return `The newest checkpoint covers it up to ${formatPosition(chain.proven.position)}, and the files of ${chain.uncoveredDays} days have lines after that: a working gateway signs the end of each day.`;
}

function chainFindings(
  chain: HashChain,
  anchors: readonly Anchor[],
  logDir: string,
): TrailFinding[] {
  if (!chain.isEnded) return chain.findings;
  if (chain.break !== undefined) {
    return [...chain.findings, explainBreak(chain.break, anchors, logDir)];
  }
  const { unprovenFirst } = chain;
  const finding = unprovenFirst && explainMisplaced(unprovenFirst, logDir);
  return finding === undefined ? chain.findings : [...chain.findings.slice(0, -1), finding];
}

/** A gateway that signs leaves a checkpoint of the end of each day, which remains when retention deletes the file. */
function startFindings(chain: HashChain, anchors: readonly Anchor[]): TrailFinding[] {
  if (chain.isEnded || chain.start !== "unknown" || anchors.length === 0) return [];
  const { legacy } = chain;
  const position = formatPosition(chain.first!);
  const text =
    "it is not the very first event, and no checkpoint tells what came before: this line was changed, lines before it were removed, or they date from before checkpoints were written.";
  if (legacy === undefined) return [{ position, text }];
  const before = `${counted(legacy.lines, "line")} before ${position} ${legacy.lines === 1 ? "has" : "have"} no seq and no hash, but the chain does not begin at ${position}: someone may have removed the seq and hash, or changed the lines.`;
  return [
    { position: formatPosition(legacy.first), text: before },
    { position, text },
  ];
}

/** A checkpoint signs events after the last line. */
function endFindings(chain: HashChain, trail: TrailReader): TrailFinding[] {
  const newest = chain.ahead.at(-1);
  if (chain.isEnded || newest === undefined) return [];
  const { last, ahead } = chain;
  const position = trail.incomplete ?? last?.position;
  const end = last === undefined ? "there is none" : `the last one is event ${last.seq}`;
  const cut = trail.incomplete === undefined ? "" : " The file was truncated within a line.";
  return [
    {
      position: position === undefined ? "audit" : formatPosition(position),
      text: `lines after this one were removed: ${counted(ahead.length, "checkpoint")} (${ahead[0]!.source}) ${ahead.length === 1 ? "signs" : "sign"} events up to ${newest.checkpoint.seq}, but ${end}.${cut} (After a crash, the journal may still have them until the gateway is started again.)`,
    },
  ];
}

function missingCheckpoints(
  embedded: EmbeddedCheckpoints,
  chain: HashChain,
  { logDir, keys }: VerificationOptions,
): TrailFinding[] {
  if (chain.isEnded) return [];
  // Read again: a running gateway may have added some.
  const { anchors } = readOwnAnchors(logDir, keys);
  const missing = embedded.missingFrom(anchors, logDir);
  if (missing === undefined) return [];
  const { position, checkpoint } = missing;
  const text = `checkpoints were removed here: the trail contains the one of ${checkpoint.time} as an event at ${formatPosition(position)}, but this file has neither that one nor a newer one.`;
  return [{ position: CHECKPOINTS_NAME, text }];
}

const KEY_EVENT_MARKER = Buffer.from(`"logger":"${KEY_LOGGER}"`);

interface KeyChange {
  readonly seq: number;
  readonly previous: string;
  readonly key: string;
}

/** The changes of the signing key that a trail records. */
class KeyChanges {
  readonly #changes: KeyChange[] = [];

  inspect(line: TrailLine): void {
    const bytes = line.memory.subarray(line.start, line.end);
    if (!bytes.includes(KEY_EVENT_MARKER)) return;
    const link = parseLink(line);
    if (link === undefined) return;
    const { previous_key: previous, key } = parseDetails(bytes.toString("utf8"));
    if (typeof previous !== "string" || typeof key !== "string") return;
    this.#changes.push({ seq: link.seq, previous, key });
  }

  /**
   * Returns a finding for each change of the key between consecutive checkpoints that the trail does not record.
   * `firstSeq`: the trail's first event. An earlier change may have been recorded in a file that retention deleted.
   */
  unrecorded(own: readonly Anchor[], firstSeq: number): TrailFinding[] {
    const findings: TrailFinding[] = [];
    for (const [index, anchor] of own.slice(1).entries()) {
      const { key, seq } = own[index]!.checkpoint;
      const { source, checkpoint } = anchor;
      if (checkpoint.key === key || seq < firstSeq) continue;
      if (this.#connects(key, checkpoint.key, seq)) continue;
      findings.push({
        position: source,
        text: `${describeAnchor(anchor)} is signed with the key ${checkpoint.key}, the previous one with ${key}, and no ${KEY_CHANGE_TYPE} event in the trail records the change: someone else may have signed it.`,
      });
    }
    return findings;
  }

  /** Returns whether recorded changes lead from one key to the other, possibly through keys that signed nothing. */
  #connects(from: string, to: string, after: number): boolean {
    let key = from;
    for (const change of this.#changes) {
      if (change.seq > after && change.previous === key) key = change.key;
      if (key === to) return true;
    }
    return false;
  }
}

function parseDetails(line: string): Record<string, unknown> {
  try {
    const { details } = JSON.parse(line) as { details?: Record<string, unknown> | null };
    return details ?? {};
  } catch {
    return {};
  }
}
