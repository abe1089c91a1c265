import type { Anchor } from "./anchor.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { CHECKPOINT_LOGGER } from "./checkpoint-record.ts";
import { checkpointsIn } from "./kept-checkpoints.ts";
import type { PublicKey } from "./public-key.ts";
import { sealOf } from "./seal.ts";
import type { Place, Trail, TrailLine } from "./trail.ts";

const MARK = Buffer.from(`"logger":"${CHECKPOINT_LOGGER}"`);

interface Embedded {
  readonly checkpoint: Checkpoint;
  readonly place: Place;
}

/**
 * The checkpoints that the trail itself has as events. Anybody may log such an event, and another gateway's may have
 * been forwarded to this one; so they count only where the chain agrees.
 */
export class EmbeddedCheckpoints {
  readonly #keys: readonly PublicKey[];
  /** The newest of each epoch. */
  readonly #newest = new Map<string, Embedded>();

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  look(line: TrailLine): void {
    const bytes = line.memory.subarray(line.start, line.end);
    if (!bytes.includes(MARK)) return;
    const [checkpoint] = checkpointsIn(bytes.toString("utf8"));
    if (checkpoint === undefined || !this.#keys.some(({ id }) => id === checkpoint.key)) return;
    const place = { file: line.file, line: line.line };
    this.#newest.set(checkpoint.epoch, { checkpoint, place });
  }

  /** The newest one of this trail, where it is newer than all of `own`: those must have been cut off there. */
  missingFrom(own: readonly Anchor[], trail: () => Trail): Embedded | undefined {
    const newest = own.reduce((seq, { checkpoint }) => Math.max(seq, checkpoint.seq), 0);
    const candidates = [...this.#newest.values()].filter(
      ({ checkpoint }) =>
        checkpoint.seq > newest && this.#keys.some((key) => key.hasSigned(checkpoint)),
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
}
