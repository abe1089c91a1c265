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

const PATIENCE_MS = 3_000;

const MEGABYTE = 1e6;

const EXAMPLES = `
Examples:
  tailgate audit verify
  tailgate audit verify --log-dir ./logs --checkpoint collector.jsonl
  tailgate audit verify --log-dir ./copy --key audit-key.pub.pem --checkpoint kept.jsonl

A checkpoint is taken from any JSON line that has one: of checkpoints.jsonl, of an audit file, an envelope, a record
in a collector's OTLP export. Only one that was kept elsewhere shows that all of the trail was replaced.

Exit code: 0 the trail holds and a signed checkpoint covers it, 1 it does not hold, with the first line that is not as
it was, 69 nothing proves it, or nothing could be verified. --allow-unsigned exits with 0 if only the proof is missing.`;

export function addAudit(program: Command): void {
  const audit = program
    .command("audit")
    .description("look after the audit trail")
    .addHelpText("after", EXAMPLES);
  audit
    .command("verify")
    .description("verify by its files that nothing in the audit trail was changed")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--log-dir <path>", "directory of the log files (default: as for `tailgate run`)")
    .option("--checkpoint <file...>", "checkpoints that were kept elsewhere, one or several a file")
    .option("--key <file...>", "public keys (default: all beside the gateway's private key)")
    .option("--allow-unsigned", "accept a trail that no signed checkpoint covers")
    .addHelpText("after", EXAMPLES)
    .action(verifyTrail);
}

async function verifyTrail({ config: file, logDir, ...given }: VerifyOptions): Promise<void> {
  const flags = logDir === undefined ? {} : { logDir };
  const config = await resolveConfig({ file, flags, env: process.env, cwd: process.cwd() });
  const { verify } = await import("../audit/verification.ts");
  const startedAtMs = performance.now();
  const ring = await keysOf(given.key, config.auditKeyFile);
  const verification = await verify({
    logDir: config.logDir,
    keys: ring.keys,
    externalFiles: given.checkpoint ?? [],
    patienceMs: PATIENCE_MS,
  });
  const seconds = (performance.now() - startedAtMs) / 1000;
  const lines = [summary(verification, seconds), ...limits(verification, given)];
  print(lines.map((line) => `${printable(line)}\n`).join(""));
  // Whoever gives keys knows whose they are, and may know of changes that no gateway recorded.
  const unrecorded = given.key === undefined ? verification.unrecordedKeys : [];
  refuseBroken([...verification.findings, ...unrecorded, ...ring.findings]);
  if (given.allowUnsigned !== true) refuseUnproven(verification, ring);
  print("The audit trail holds.\n");
}

async function keysOf(
  given: readonly string[] | undefined,
  keyFile: string | undefined,
): Promise<KeyRing> {
  const nothing = { keys: [], findings: [], threat: undefined };
  if (given !== undefined) return { ...nothing, keys: given.map((path) => PublicKey.read(path)) };
  const privateFile = keyFile ?? defaultKeyFile(process.env);
  return privateFile === undefined ? nothing : readKeyRing(privateFile);
}

function summary({ chain, files, bytes, own, external }: Verification, seconds: number): string {
  const speed = (bytes / MEGABYTE / seconds).toFixed(0);
  const { first, last } = chain;
  const range =
    first === undefined || last === undefined
      ? ""
      : ` from ${formatPosition(first)} to ${formatPosition(last.position)} (event ${last.seq})`;
  return `${counted(chain.lines, "line")} in order${range}; ${counted(files.length, "file")}, ${counted(own.length, "checkpoint")} here and ${external.length} from elsewhere, ${chain.comparedAnchors} compared; ${(bytes / MEGABYTE).toFixed(1)} MB, ${speed} MB/s`;
}

/** What this verification does not prove. */
function limits(verification: Verification, given: VerifyOptions): string[] {
  const { chain, incomplete, own, unrecordedKeys } = verification;
  const limited: string[] = [];
  const uncovered = chain.lines - (chain.proven?.lines ?? 0);
  if (incomplete !== undefined) {
    limited.push(
      `incomplete last line: ${formatPosition(incomplete)} has ${counted(incomplete.bytes, "byte")} without an end. A gateway is writing it, or had no time to; it is not part of the trail.`,
    );
  }
  if (chain.legacy !== undefined) limited.push(legacyText(chain.legacy));
  if (chain.start === "unknown") {
    limited.push(
      `${formatPosition(chain.first!)} is the first line, and no checkpoint tells what was before: it may have been changed, and lines before it may have been removed.`,
    );
  } else if (chain.start === "checkpoint") {
    limited.push(
      `${formatPosition(chain.first!)} follows a signed event that is not here: older files were deleted, by retention or by somebody.`,
    );
  }
  if (uncovered > 0) {
    limited.push(
      `${counted(uncovered, "line")} behind the newest checkpoint ${uncovered === 1 ? "fits" : "fit"}, and nothing is signed there: whoever can write the files could change, add or remove events.`,
    );
  }
  if (own.length === 0) limited.push("checkpoints.jsonl has no checkpoint.");
  if (given.key !== undefined) {
    limited.push(...unrecordedKeys.map(({ position, text }) => `${position}: ${text}`));
  }
  if (given.checkpoint === undefined) {
    limited.push(
      "no checkpoint from elsewhere was given: whether files and checkpoints.jsonl together are an older copy, or end too early, cannot be seen.",
    );
  }
  limited.push("whoever has the private key can sign anything.");
  return limited.map((text) => `not proven: ${text}`);
}

function legacyText({ first, last, lines }: LegacyLines): string {
  const isOne = lines === 1;
  const range = isOne
    ? formatPosition(first)
    : `${formatPosition(first)} to ${formatPosition(last)}`;
  const them = isOne ? "it" : "them";
  return `${counted(lines, "legacy line")} (${range}) ${isOne ? "is" : "are"} not covered: ${isOne ? "it has" : "they have"} no seq and no hash, and stood in the files before the chain began. Another program wrote ${them}, such as the system that Tailgate succeeds, or a gateway whose journal is in memory.`;
}

function refuseBroken(findings: readonly TrailFinding[]): void {
  if (findings.length === 0) return;
  const lines = findings.map(({ position, text }) => `${position}: ${text}`);
  throw new TailgateError(
    "AUDIT_TRAIL_BROKEN",
    `The audit trail does not hold.\n${lines.map((line) => `  ${line}\n`).join("")}`,
  );
}

function refuseUnproven({ unproven }: Verification, { threat }: KeyRing): void {
  const why =
    unproven ?? (threat && `The public keys are in ${threat}: they could have replaced them.`);
  if (why === undefined) return;
  throw new TailgateError(
    "AUDIT_UNPROVEN",
    `No signed checkpoint proves the audit trail. ${why} Nobody can tell whether it was changed.`,
  );
}
