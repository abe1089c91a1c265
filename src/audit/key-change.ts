/** A change of the key that signs checkpoints: how the trail records it, and what a trail without such a record is told. */

import type { LogRecord } from "../plugin/index.ts";
import { anchorText, type Anchor } from "./anchor.ts";
import type { Finding } from "./finding.ts";
import { ownEvent, ownLogger } from "./own-event.ts";
import type { PublicKey } from "./public-key.ts";
import { sealOf } from "./seal.ts";
import type { TrailLine } from "./trail.ts";

const LOGGER = "key";

const EVENT_TYPE = "audit_key_changed";

const MARK = Buffer.from(`"logger":"${ownLogger(LOGGER)}"`);

/** Returns the audit event that the gateway logs before the first checkpoint of another key. */
export function keyChangeRecord(previous: string, key: PublicKey): LogRecord {
  return ownEvent({
    logger: LOGGER,
    level: "WARNING",
    eventType: EVENT_TYPE,
    timeMs: Date.now(),
    details: new Map([
      ["previous_key", previous],
      ["key", key.id],
      ["public_key", key.pem],
    ]),
  });
}

interface KeyChange {
  readonly seq: number;
  readonly previous: string;
  readonly key: string;
}

/** The changes of keys that a trail records. */
export class KeyChanges {
  readonly #changes: KeyChange[] = [];

  look(line: TrailLine): void {
    const bytes = line.memory.subarray(line.start, line.end);
    if (!bytes.includes(MARK)) return;
    const seal = sealOf(line);
    if (seal === undefined) return;
    const { previous_key: previous, key } = detailsOf(bytes.toString("utf8"));
    if (typeof previous !== "string" || typeof key !== "string") return;
    this.#changes.push({ seq: seal.seq, previous, key });
  }

  /**
   * Returns a finding for each change of key between two checkpoints, in the order in which they were signed, that the
   * trail does not record. `firstSeq`: the trail's first event. A change before it may have been recorded in a file
   * that retention deleted.
   */
  unrecorded(own: readonly Anchor[], firstSeq: number): Finding[] {
    const findings: Finding[] = [];
    for (const [index, anchor] of own.slice(1).entries()) {
      const { key, seq } = own[index]!.checkpoint;
      const { source, checkpoint } = anchor;
      if (checkpoint.key === key || seq < firstSeq) continue;
      if (this.#leads(key, checkpoint.key, seq)) continue;
      findings.push({
        place: source,
        text: `${anchorText(anchor)} is signed with the key ${checkpoint.key}, the one before with ${key}, and no event ${EVENT_TYPE} in the trail records the change: someone else may have signed it.`,
      });
    }
    return findings;
  }

  /** Whether recorded changes lead from one key to another; some keys have signed nothing. */
  #leads(from: string, to: string, after: number): boolean {
    let key = from;
    for (const change of this.#changes) {
      if (change.seq > after && change.previous === key) key = change.key;
      if (key === to) return true;
    }
    return false;
  }
}

function detailsOf(line: string): Record<string, unknown> {
  try {
    const { details } = JSON.parse(line) as { details?: Record<string, unknown> | null };
    return details ?? {};
  } catch {
    return {};
  }
}
