import { closeSync, constants, createReadStream, openSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { TailgateError, textOf } from "../wire/errors.ts";
import { AUDIT_DIRECTORY, CHECKPOINTS_NAME } from "./checkpoint-file.ts";
import { parseCheckpointLine, type Checkpoint } from "./checkpoint.ts";
import type { Anchor } from "./anchor.ts";
import type { Finding } from "./finding.ts";
import { checkpointsIn } from "./kept-checkpoints.ts";
import type { PublicKey } from "./public-key.ts";

/** Checkpoints from one place, those that hold apart from what does not. */
export interface Anchors {
  readonly anchors: readonly Anchor[];
  readonly findings: readonly Finding[];
}

/** The trail's own checkpoints. A last line without a line feed is being written, or a crash has left it. */
export function ownAnchors(logDir: string, keys: readonly PublicKey[]): Anchors {
  const text = readIfThere(join(logDir, AUDIT_DIRECTORY, CHECKPOINTS_NAME));
  return checked(
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
 * The checkpoints that were kept elsewhere.
 * @throws TailgateError AUDIT_UNREADABLE where there is none in the file.
 */
export async function keptAnchors(path: string, keys: readonly PublicKey[]): Promise<Anchors> {
  const found: Anchor[] = [];
  try {
    let number = 0;
    for await (const line of createInterface({ input: createReadStream(path) })) {
      const source = `${basename(path)}:${++number}`;
      if (!line.includes("signature")) continue;
      for (const checkpoint of checkpointsIn(line)) found.push({ checkpoint, source });
    }
  } catch (error) {
    throw new TailgateError("AUDIT_UNREADABLE", `${path} cannot be read: ${textOf(error)}.`);
  }
  if (found.length > 0) return checked(found, keys);
  const none = `There is no checkpoint in ${path}: neither a line of ${CHECKPOINTS_NAME} nor an event audit_checkpoint.`;
  throw new TailgateError("AUDIT_UNREADABLE", none);
}

function checked(
  found: readonly { readonly checkpoint: Checkpoint | undefined; readonly source: string }[],
  keys: readonly PublicKey[],
): Anchors {
  const anchors: Anchor[] = [];
  const findings: Finding[] = [];
  for (const { checkpoint, source } of found) {
    const text = flawOf(checkpoint, keys);
    if (text !== undefined) findings.push({ place: source, text });
    else anchors.push({ checkpoint: checkpoint!, source });
  }
  return { anchors, findings };
}

function flawOf(
  checkpoint: Checkpoint | undefined,
  keys: readonly PublicKey[],
): string | undefined {
  if (checkpoint === undefined) return "this line was changed: it is no checkpoint.";
  const key = keys.find(({ id }) => id === checkpoint.key);
  if (key === undefined) {
    return `this checkpoint is signed with the key ${checkpoint.key}, which was not given: give its public key with --key, or somebody else has signed it.`;
  }
  if (key.hasSigned(checkpoint)) return undefined;
  return "this checkpoint was changed: its signature is not that of its contents.";
}

function readIfThere(path: string): string {
  try {
    const descriptor = openSync(
      path,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    try {
      return readFileSync(descriptor, "utf8");
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new TailgateError("AUDIT_UNREADABLE", `${path} cannot be read: ${textOf(error)}.`);
  }
}
