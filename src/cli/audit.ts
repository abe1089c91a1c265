import type { Command } from "commander";
import type { LegacyLines } from "../audit/hash-chain.ts";
import { defaultKeyFile } from "../audit/key-files.ts";
import { PublicKey, readKeyRing, type KeyRing } from "../audit/public-keys.ts";
import { counted, formatPosition, type TrailFinding } from "../audit/trail.ts";
import type { Verification } from "../audit/verification.ts";
import { resolveConfig } from "../config/config.ts";
import { TailgateError } from "../wire/errors.ts";
import { printable } from "../wire/printable.ts";
import { print } from "./output.ts";

interface VerifyOptions {
  readonly config?: string;
  readonly logDir?: string;
  readonly checkpoint?: readonly string[];
  readonly key?: readonly string[];
  readonly allowUnsigned?: boolean;
}

/** How long to wait for a running gateway to complete its last line. */
const PATIENCE_MS = 3_000;

const MEGABYTE = 1e6;

const EXAMPLES = `
Examples:
  tailgate audit verify
  tailgate audit verify --log-dir ./logs --checkpoint collector.jsonl
  tailgate audit verify --log-dir ./copy --key audit-key.pub.pem --checkpoint kept.jsonl

Checkpoints are read from any JSON line that contains one: of checkpoints.jsonl, an audit file, an envelope, or a
collector's OTLP export. Only a checkpoint that was stored elsewhere can reveal that the whole trail was replaced.

Exit codes: 0 the trail is intact and a signed checkpoint covers it; 1 it is broken, with the first line that was
changed; 69 no signed checkpoint covers it, or nothing could be verified. --allow-unsigned exits with 0 if only the
signed checkpoint is missing.`;

export function addAudit(program: Command): void {
  const audit = program
    .command("audit")
    .description("verify the audit trail")
    .addHelpText("after", EXAMPLES);
  audit
    .command("verify")
    .description("verify from its files that the audit trail was not tampered with")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--log-dir <path>", "directory of the log files (default: as for `tailgate run`)")
    .option("--checkpoint <file...>", "files with checkpoints that were stored elsewhere")
    .option("--key <file...>", "public keys (default: those stored with the gateway's private key)")
    .option("--allow-unsigned", "accept a trail that no signed checkpoint covers")
    .addHelpText("after", EXAMPLES)
    .action(verifyTrail);
}

async function verifyTrail({ config: file, logDir, ...given }: VerifyOptions): Promise<void> {
  const flags = logDir === undefined ? {} : { logDir };
  const config = await resolveConfig({ file, flags, env: process.env, cwd: process.cwd() });
  const { verify } = await import("../audit/verification.ts");
  const startedAtMs = performance.now();
  const ring = await readKeys(given.key, config.auditKeyFile);
  const verification = await verify({
    logDir: config.logDir,
    keys: ring.keys,
    externalFiles: given.checkpoint ?? [],
    patienceMs: PATIENCE_MS,
  });
  const seconds = (performance.now() - startedAtMs) / 1000;
  const lines = [summary(verification, seconds), ...caveats(verification, ring, given)];
  print(lines.map((line) => `${printable(line)}\n`).join(""));
  // A user who passes keys knows their owners, and may know of key changes that no gateway recorded.
  const unrecorded = given.key === undefined ? verification.unrecordedKeys : [];
  throwIfBroken([...verification.findings, ...unrecorded, ...ring.findings]);
  if (given.allowUnsigned !== true) throwIfUnproven(verification, ring);
  print("The audit trail is intact.\n");
}

async function readKeys(
  given: readonly string[] | undefined,
  keyFile: string | undefined,
): Promise<KeyRing> {
  const privateFile = keyFile ?? defaultKeyFile(process.env);
  if (given === undefined && privateFile !== undefined) return readKeyRing(privateFile);
  const keys = given?.map((path) => PublicKey.read(path)) ?? [];
  return { keys, findings: [], threat: undefined };
}

function summary({ chain, files, bytes, own, external }: Verification, seconds: number): string {
  const speed = (bytes / MEGABYTE / seconds).toFixed(0);
  const { first, last } = chain;
  const range =
    first && last
      ? ` from ${formatPosition(first)} to ${formatPosition(last.position)} (event ${last.seq})`
      : "";
  return `${counted(chain.lines, "line")} in order${range}; ${counted(files.length, "file")}, ${counted(own.length, "checkpoint")} here and ${external.length} from elsewhere, ${chain.comparedAnchors} compared; ${(bytes / MEGABYTE).toFixed(1)} MB, ${speed} MB/s`;
}

/** Returns what this verification does not prove. */
function caveats(verification: Verification, { keys }: KeyRing, given: VerifyOptions): string[] {
  const { chain, incomplete, own, unrecordedKeys } = verification;
  const texts: string[] = [];
  const uncovered = chain.lines - (chain.proven?.lines ?? 0);
  if (incomplete !== undefined) {
    texts.push(
      `incomplete last line: ${formatPosition(incomplete)} is cut off after ${counted(incomplete.bytes, "byte")}. A gateway is writing it or was stopped while doing so; it is not part of the trail.`,
    );
  }
  if (chain.legacy !== undefined) texts.push(legacyText(chain.legacy));
  if (chain.start === "unknown") {
    texts.push(
      `${formatPosition(chain.first!)} is the first line, and no checkpoint covers what precedes it: it may have been changed, and lines before it may have been removed.`,
    );
  } else if (chain.start === "checkpoint") {
    texts.push(
      `${formatPosition(chain.first!)} follows a signed event that is no longer here: older files were deleted, by the retention policy or by someone.`,
    );
  }
  if (uncovered > 0) {
    texts.push(
      `${counted(uncovered, "line")} after the newest checkpoint ${uncovered === 1 ? "is" : "are"} consistent but not signed: anyone who can write to the files could have changed, added or removed events.`,
    );
  }
  if (keys.length === 0) {
    texts.push("there is no public key, so no checkpoint was verified.");
  } else if (own.length === 0) {
    texts.push("checkpoints.jsonl has no checkpoint.");
  }
  if (given.key !== undefined) {
    texts.push(...unrecordedKeys.map(({ position, text }) => `${position}: ${text}`));
  }
  if (given.checkpoint === undefined) {
    texts.push(
      "no checkpoint that was stored elsewhere was given: the files and checkpoints.jsonl may both have been truncated or replaced by an older copy.",
    );
  }
  texts.push("anyone who has the private key can sign anything.");
  return texts.map((text) => `not proven: ${text}`);
}

function legacyText({ first, last, lines }: LegacyLines): string {
  const isOne = lines === 1;
  const end = isOne ? "" : ` to ${formatPosition(last)}`;
  return `${counted(lines, "legacy line")} (${formatPosition(first)}${end}) ${isOne ? "is" : "are"} not covered: ${isOne ? "it has" : "they have"} no seq and no hash, and precede the hash chain. Another program wrote ${isOne ? "it" : "them"}, such as Tailgate's predecessor, or a gateway with the journal engine memory.`;
}

function throwIfBroken(findings: readonly TrailFinding[]): void {
  if (findings.length === 0) return;
  const lines = findings.map(({ position, text }) => `  ${position}: ${text}\n`);
  const text = `The audit trail is broken.\n${lines.join("")}`;
  throw new TailgateError("AUDIT_TRAIL_BROKEN", text);
}

function throwIfUnproven({ unproven }: Verification, { threat }: KeyRing): void {
  const why =
    unproven ?? (threat && `The public keys are in ${threat}, who could have replaced them.`);
  if (why === undefined) return;
  const text = `No signed checkpoint covers the audit trail. ${why} It may have been changed.`;
  throw new TailgateError("AUDIT_UNPROVEN", text);
}
