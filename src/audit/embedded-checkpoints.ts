import type { Anchor } from "./anchor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { CHECKPOINT_LOGGER } from "./checkpoint-record.ts";
import { checkpointsIn } from "./kept-checkpoints.ts";
import type { PublicKey } from "./public-key.ts";
import { sealOf } from "./seal.ts";
import type { Place, Trail, TrailLine } from "./trail.ts";

const MARK = Buffer.from(`"logger":"${CHECKPOINT_LOGGER}"`);

/** The members of the event that a gateway logs for a checkpoint of its own; one that was forwarded has others, too. */
const OWN_MEMBERS = "timestamp,level,event,logger,event_type,details,seq,hash";

interface Embedded {
  readonly checkpoint: Checkpoint;
  readonly place: Place;
  /** The sequence of the event that it stands in. */
  readonly seq: number;
  readonly hasOwnMembers: boolean;
}

/** What the trail has where a checkpoint's event should be, and where the checkpoint itself stands. */
interface Position {
  readonly hash: string | undefined;
  /** Whether that is as many events from the trail's beginning as the checkpoint counts. */
  readonly isCounted: boolean;
  /** How many events came before the checkpoint's own; Infinity if unknown. */
  readonly countBefore: number;
}

/** What is known of the trail when its embedded checkpoints are judged. */
export interface Known {
  /** Anchors that were compared with the trail. */
  readonly anchors: readonly Anchor[];
  /** How many events came before the trail's first line; undefined if unknown. */
  readonly countBefore: number | undefined;
  readonly isProven: boolean;
}

/**
 * The checkpoints that the trail itself has as events. Anyone may log such an event, and another gateway's may have
 * been forwarded to this one. So one counts only if nothing else explains it: see {@link anchors}.
 */
export class EmbeddedCheckpoints {
  readonly #keys: readonly PublicKey[];
  /** The newest of each epoch. */
  readonly #newest = new Map<string, Embedded>();
  /** Those in events that no checkpoint covers so far. */
  #uncovered: Embedded[] = [];

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  look(line: TrailLine): void {
    const bytes = line.memory.subarray(line.start, line.end);
    if (!bytes.includes(MARK)) return;
    const seal = sealOf(line);
    const text = bytes.toString("utf8");
    const [checkpoint] = checkpointsIn(text);
    if (seal === undefined || checkpoint === undefined) return;
    if (!this.#keys.some(({ id }) => id === checkpoint.key)) return;
    const embedded = {
      checkpoint,
      place: { file: line.file, line: line.line },
      seq: seal.seq,
      hasOwnMembers: Object.keys(JSON.parse(text) as object).join() === OWN_MEMBERS,
    };
    this.#newest.set(checkpoint.epoch, embedded);
    this.#uncovered.push(embedded);
  }

  /** A checkpoint covers all events so far. They are genuine, so a checkpoint in them that does not fit is foreign. */
  covered(): void {
    this.#uncovered = [];
  }

  /**
   * Those checkpoints of this trail that were not yet compared with it. A checkpoint whose hash the trail has is one.
   * One that contradicts the trail is one, too, unless it may be foreign.
   */
  anchors({ anchors, countBefore, isProven }: Known, trail: () => Trail): Anchor[] {
    const compared = new Set(anchors.map(({ checkpoint }) => checkpoint.signature));
    const candidates = this.#uncovered.filter(
      ({ checkpoint }) => !compared.has(checkpoint.signature) && this.#isSigned(checkpoint),
    );
    if (candidates.length === 0) return [];
    const positions = positionsOf(candidates, countBefore, trail());
    const matches = candidates.filter((one) => positions.get(one)!.hash === one.checkpoint.head);
    const epochs = new Set([...anchors, ...matches].map(({ checkpoint }) => checkpoint.epoch));
    const own = candidates.filter((one) => {
      const position = positions.get(one)!;
      if (position.hash === one.checkpoint.head || epochs.has(one.checkpoint.epoch)) return true;
      // Of an epoch that this trail has nothing else of. The fewer there is to go by, the less it takes.
      const hasOthers = isProven || matches.length > 0;
      return isPlausible(one, position) && (position.isCounted || !hasOthers);
    });
    return own.map(({ checkpoint, place }) => ({
      checkpoint,
      source: `${place.file}:${place.line}`,
    }));
  }

  /** The newest one of this trail, where it is newer than all of `own`: those must have been cut off there. */
  missingFrom(own: readonly Anchor[], trail: () => Trail): Embedded | undefined {
    const newest = own.reduce((seq, { checkpoint }) => Math.max(seq, checkpoint.seq), 0);
    const candidates = [...this.#newest.values()].filter(
      ({ checkpoint }) => checkpoint.seq > newest && this.#isSigned(checkpoint),
    );
    if (candidates.length === 0) return undefined;
    const heads = new Map(candidates.map((embedded) => [embedded.checkpoint.head, embedded]));
    let missing: Embedded | undefined;
    for (const line of trail().lines()) {
      const seal = sealOf(line);
      missing = (seal && heads.get(seal.hash)) ?? missing;
    }
    return missing;
  }

  #isSigned(checkpoint: Checkpoint): boolean {
    return this.#keys.some((key) => key.id === checkpoint.key && key.hasSigned(checkpoint));
  }
}

/** Whether a gateway could have logged this checkpoint of its own there: it signs events before, not more than there are. */
function isPlausible(
  { checkpoint, seq, hasOwnMembers }: Embedded,
  { countBefore }: Position,
): boolean {
  return hasOwnMembers && checkpoint.seq < seq && checkpoint.count <= countBefore;
}

function positionsOf(
  candidates: readonly Embedded[],
  countBefore: number | undefined,
  trail: Trail,
): Map<Embedded, Position> {
  const wanted = new Set(candidates.flatMap(({ seq, checkpoint }) => [seq, checkpoint.seq]));
  const found = new Map<number, { hash: string; count: number }>();
  let count = countBefore ?? Infinity;
  for (const line of trail.lines()) {
    const seal = sealOf(line);
    if (seal === undefined) continue;
    count++;
    if (wanted.has(seal.seq)) found.set(seal.seq, { hash: seal.hash, count });
  }
  return new Map(
    candidates.map((one) => {
      const signed = found.get(one.checkpoint.seq);
      const position = {
        hash: signed?.hash,
        isCounted: signed?.count === one.checkpoint.count,
        countBefore: (found.get(one.seq)?.count ?? 1) - 1,
      };
      return [one, position] as const;
    }),
  );
}
