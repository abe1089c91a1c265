import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import {
  checkpointLine,
  signedText,
  type Checkpoint,
  type UnsignedCheckpoint,
} from "../../src/audit/checkpoint.ts";
import { CHECKPOINT_LOGGER } from "../../src/audit/trail-events.ts";
import { PublicKey } from "../../src/audit/public-keys.ts";
import { NO_HASH } from "../../src/envelope/audit-line.ts";

/** A fixed key for tests only, so that every run has the same trail. */
const PRIVATE_KEY = createPrivateKey({
  key: Buffer.from(`302e020100300506032b657004220420${"42".repeat(32)}`, "hex"),
  format: "der",
  type: "pkcs8",
});

export const PUBLIC_KEY = new PublicKey(createPublicKey(PRIVATE_KEY));

const DAYS = ["20261123", "20261124", "20261125"];
const EVENTS_A_DAY = 3;
const EPOCH = "0192f0c0-7a3b-4c4d-8e8f-000000000001";

/** The files of a trail by name: audit files of three days, and `checkpoints.jsonl`. */
export type TrailFiles = ReadonlyMap<string, string>;

export interface MadeTrail {
  readonly files: TrailFiles;
  /** The lines of all audit files, oldest first. */
  readonly lines: readonly string[];
  /** The last checkpoint, as a line. It covers all events. */
  readonly kept: string;
}

/** Returns a trail as a gateway writes it: each day ends with a checkpoint, and the next day begins with its event. */
export function makeTrail(): MadeTrail {
  const files = new Map<string, string>();
  const checkpoints: string[] = [];
  const lines: string[] = [];
  let head = NO_HASH;
  let seq = 0;
  const add = (body: string): string => {
    // System logs between the events use sequence numbers, too.
    seq += 2;
    const sealed = `${body},"seq":${seq}`;
    head = createHash("sha256").update(head).update(sealed).digest("hex");
    const line = `${sealed},"hash":"${head}"}`;
    lines.push(line);
    return line;
  };
  for (const [index, day] of DAYS.entries()) {
    const ofDay: string[] = [];
    const last = checkpoints.at(-1);
    if (last !== undefined) ofDay.push(add(checkpointEvent(day, last)));
    for (let event = 0; event < EVENTS_A_DAY; event++)
      ofDay.push(add(eventBody(day, index, event)));
    files.set(`audit_${day}.jsonl`, ofDay.map((line) => `${line}\n`).join(""));
    const claim = { epoch: EPOCH, day, lines: ofDay.length, count: lines.length, seq, head };
    checkpoints.push(checkpointLine(signed({ ...claim, time: timeOf(day, 23) })));
  }
  files.set("checkpoints.jsonl", checkpoints.map((line) => `${line}\n`).join(""));
  return { files, lines, kept: checkpoints.at(-1)! };
}

function signed(claim: Omit<UnsignedCheckpoint, "key">): Checkpoint {
  const whole = { ...claim, key: PUBLIC_KEY.id };
  const signature = sign(null, Buffer.from(signedText(whole)), PRIVATE_KEY).toString("base64");
  return { ...whole, signature };
}

function eventBody(day: string, index: number, event: number): string {
  const head = `{"timestamp":"${microsOf(day, 8 + event)}","level":"INFO","event":"worker spawned"`;
  return `${head},"logger":"orchestrator.audit","event_type":"instance.spawn","n":${index * 10 + event},"details":{"role":"wörker \\"a\\"","list":[1,null,"x"]}`;
}

function checkpointEvent(day: string, line: string): string {
  const head = `{"timestamp":"${microsOf(day, 0)}","level":"INFO","event":"audit_checkpoint"`;
  return `${head},"logger":"${CHECKPOINT_LOGGER}","event_type":"audit_checkpoint","details":${line}`;
}

function microsOf(day: string, hour: number): string {
  return timeOf(day, hour).replace("Z", "000Z");
}

function timeOf(day: string, hour: number): string {
  const date = `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`;
  return `${date}T${String(hour).padStart(2, "0")}:00:00.000Z`;
}

/** Recomputes the hash of every line, as an attacker who knows the format would. */
export function rechain(files: TrailFiles): Map<string, string> {
  let head = NO_HASH;
  const again = (line: string): string => {
    const end = line.lastIndexOf(',"hash":');
    if (end < 0) return line;
    const body = line.slice(0, end);
    head = createHash("sha256").update(head).update(Buffer.from(body, "latin1")).digest("hex");
    return `${body},"hash":"${head}"}`;
  };
  return new Map(
    [...files].map(([name, text]) =>
      name.startsWith("audit_") ? [name, text.split("\n").map(again).join("\n")] : [name, text],
    ),
  );
}
