import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { expect, test, vi } from "vitest";
import { rechain } from "../harness/audit-trail.ts";
import { Workspace } from "../harness/workspace.ts";
import { postMessages } from "../harness/otlp.ts";
import { type Program, runCli, startCli } from "../harness/program.ts";

const LISTENING = /^tailgate: listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/m;

const RUN = ["run", "--port=0", "--otlp-port=0", "--log-dir=logs"];

function environment(workspace: Workspace): Record<string, string> {
  return { XDG_CONFIG_HOME: workspace.path("config") };
}

function start(workspace: Workspace): Program {
  return startCli(RUN, { cwd: workspace.directory, env: environment(workspace) });
}

/** Runs a gateway that stores these events, until it exits. */
async function run(workspace: Workspace, messages: readonly string[]): Promise<void> {
  await using gateway = start(workspace);
  const [, url] = await gateway.untilStderr(LISTENING);
  await send(url!, messages);
  expect(await gateway.end()).toBe(0);
}

async function send(url: string, messages: readonly string[]): Promise<void> {
  for (const message of messages) {
    expect(await postMessages(url, [message], { logger: "orchestrator.audit" })).toBe(200);
  }
}

async function verify(workspace: Workspace, ...args: string[]): Promise<Program> {
  const all = ["audit", "verify", "--log-dir", "logs", ...args];
  return runCli(all, { cwd: workspace.directory, env: environment(workspace) });
}

function auditFile(workspace: Workspace): string {
  const names = readdirSync(workspace.path("logs/audit"));
  const name = names.find((found) => found.startsWith("audit_"))!;
  return workspace.path(`logs/audit/${name}`);
}

test("an intact trail verifies, and the limits of the proof are stated", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a", "b"]);
  await run(workspace, ["c"]);
  const cli = await verify(workspace);
  expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  expect(cli.stdout).toMatch(
    /^5 lines in order from audit_\d{8}\.jsonl:1 to audit_\d{8}\.jsonl:5 \(event 5\); .* MB\/s$/m,
  );
  expect(cli.stdout).toMatch(/^not proven: no checkpoint that was stored elsewhere was given/m);
  expect(cli.stdout).toMatch(/^not proven: anyone who has the private key can sign anything\.$/m);
  expect(cli.stdout).toMatch(/^The audit trail is intact\.$/m);
  expect(existsSync(workspace.path("config/tailgate/audit-key.pub.pem"))).toBe(true);
});

test("names a changed line, and exits with 1", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["spawned", "terminated"]);
  const file = auditFile(workspace);
  writeFileSync(file, readFileSync(file, "utf8").replace("terminated", "spawned"));
  const cli = await verify(workspace);
  expect(await cli.ended).toBe(1);
  expect(cli.stderr).toMatch(
    /^tailgate: AUDIT_TRAIL_BROKEN: The audit trail is broken\.\n {2}audit_\d{8}\.jsonl:2: this line was changed/,
  );
});

test("records kept by an exporter show that the files are an older copy", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  cpSync(workspace.path("logs/audit"), workspace.path("older"), { recursive: true });
  await run(workspace, ["b"]);
  cpSync(auditFile(workspace), workspace.path("kept.jsonl"));
  rmSync(workspace.path("logs/audit"), { recursive: true });
  cpSync(workspace.path("older"), workspace.path("logs/audit"), { recursive: true });
  expect(await (await verify(workspace)).ended).toBe(0);
  const cli = await verify(workspace, "--checkpoint", "kept.jsonl");
  expect(await cli.ended).toBe(1);
  expect(cli.stderr).toMatch(
    /^ {2}audit_\d{8}\.jsonl:2: lines after this one were removed: 1 checkpoint/m,
  );
});

test("a trail verifies while its gateway writes, after kill -9, and after the next start", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  await using gateway = start(workspace);
  const [, url] = await gateway.untilStderr(LISTENING);
  const sending = (async () => {
    for (;;) await send(url!, ["b"]);
  })();
  const whileWriting = await verify(workspace);
  expect([await whileWriting.ended, whileWriting.stderr]).toEqual([0, ""]);
  gateway.process.kill("SIGKILL");
  await expect(sending).rejects.toThrow("fetch failed");
  await gateway.ended;
  const cli = await verify(workspace);
  expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  await run(workspace, ["c"]);
  const again = await verify(workspace);
  expect([await again.ended, again.stderr]).toEqual([0, ""]);
});

test("a forged trail does not exit with 0, with any or no checkpoints left", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["spawned", "terminated"]);
  const file = auditFile(workspace);
  const forge = (lines: string[]): void => {
    const made = rechain(new Map([[file, lines]])).get(file)!;
    writeFileSync(file, made.map((line) => `${line}\n`).join(""));
  };
  const lines = readFileSync(file, "utf8").replaceAll("terminated", "resumed").split("\n");
  forge(lines.slice(0, -1));
  expect(await (await verify(workspace)).ended).toBe(1);
  rmSync(workspace.path("logs/audit/checkpoints.jsonl"));
  const contradicted = await verify(workspace, "--allow-unsigned");
  expect(await contradicted.ended).toBe(1);
  expect(contradicted.stderr).toMatch(
    /^ {2}audit_\d{8}\.jsonl:2: event 2 is not the one that the checkpoint of .* \(audit_\d{8}\.jsonl:3\) has signed\./m,
  );
  forge(lines.slice(0, 2));
  const unproven = await verify(workspace);
  expect(await unproven.ended).toBe(69);
  expect(unproven.stdout).not.toMatch(/holds/);
  expect(unproven.stderr).toMatch(
    /^tailgate: AUDIT_UNPROVEN: No signed checkpoint covers the audit trail\. checkpoints\.jsonl has no checkpoint\. .*--allow-unsigned/,
  );
  const allowed = await verify(workspace, "--allow-unsigned");
  expect([await allowed.ended, allowed.stderr]).toEqual([0, ""]);
  expect(allowed.stdout).toMatch(/^The audit trail is intact\.$/m);
});

test("an empty trail proves nothing", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  rmSync(workspace.path("logs/audit/checkpoints.jsonl"));
  writeFileSync(auditFile(workspace), "");
  expect(await (await verify(workspace)).ended).toBe(69);
});

test("lines of another program before the chain are legacy and not covered", async () => {
  await using workspace = await Workspace.create();
  const day = new Date().toISOString().slice(0, 10).replaceAll("-", "");
  const legacy = [
    '{"timestamp": "2025-10-13T09:27:24.350163", "level": "INFO", "event": "instance_spawn", "seq": 3, "hash": "none"}',
    '{"timestamp": "2025-10-13T09:27:25.350163", "level": "INFO", "event": "load", "details": {"value": NaN}}',
  ];
  const path = workspace.path(`logs/audit/audit_${day}.jsonl`);
  mkdirSync(workspace.path("logs/audit"), { recursive: true, mode: 0o700 });
  chmodSync(workspace.path("logs"), 0o700);
  writeFileSync(workspace.path("logs/audit/audit_20251012.jsonl"), `${legacy[0]}\n`);
  writeFileSync(path, legacy.map((line) => `${line}\n`).join(""));
  const alone = await verify(workspace);
  expect(await alone.ended).toBe(69);
  expect(alone.stdout).toMatch(/^not proven: 3 legacy lines/m);
  await run(workspace, ["a", "b"]);
  const cli = await verify(workspace);
  expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  expect(cli.stdout).toMatch(/^not proven: \d legacy lines? \(audit_\d{8}\.jsonl:1 .*not covered/m);
  const lines = readFileSync(path, "utf8").split("\n");
  writeFileSync(path, [...lines.slice(0, 3), legacy[0], ...lines.slice(3)].join("\n"));
  const after = await verify(workspace);
  expect(await after.ended).toBe(1);
  expect(after.stderr).toMatch(new RegExp(`audit_${day}\\.jsonl:4: `));
});

test("reports a lost private key at the next start, and verify checks with the old and new keys", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  const keys = (): string[] => readdirSync(workspace.path("config/tailgate")).sort();
  const before = keys();
  const [, former] = /^audit-key\.(\w{16})\.pub\.pem$/.exec(before[0]!)!;
  expect(before).toEqual([`audit-key.${former}.pub.pem`, "audit-key.pem", "audit-key.pub.pem"]);
  rmSync(workspace.path("config/tailgate/audit-key.pem"));
  {
    await using gateway = start(workspace);
    await gateway.untilStderr(LISTENING);
    const [, made] = await gateway.untilStderr(
      /ERROR - The private key .*audit-key\.pem that signs the audit trail is missing, so a new one, (\w{16}), was created/,
    );
    await gateway.untilStderr(
      new RegExp(
        `ERROR - The audit trail is now signed with the key ${made} instead of ${former}\\.`,
      ),
    );
    expect(await gateway.end()).toBe(0);
    expect(keys()).toHaveLength(4);
    const events = readFileSync(auditFile(workspace), "utf8").split("\n").slice(0, -1);
    expect(events.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({
        level: "WARNING",
        logger: "orchestrator.audit.key",
        event_type: "audit_key_changed",
        details: expect.objectContaining({ previous_key: former, key: made }),
      }),
    );
  }
  const cli = await verify(workspace);
  expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  const given = await verify(workspace, "--key", `config/tailgate/audit-key.${former}.pub.pem`);
  expect(await given.ended).toBe(1);
  writeFileSync(
    workspace.path("config/tailgate/audit-key.pub.pem"),
    readFileSync(workspace.path(`config/tailgate/audit-key.${former}.pub.pem`)),
  );
  const replaced = await verify(workspace);
  expect(await replaced.ended).toBe(1);
  expect(replaced.stderr).toMatch(
    /audit-key\.pub\.pem: it is not the public key of .*audit-key\.pem/,
  );
});

test("keys in a directory writable by others end startup with 78, and prove nothing", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  chmodSync(workspace.path("config/tailgate"), 0o777);
  const unproven = await verify(workspace);
  expect(await unproven.ended).toBe(69);
  expect(unproven.stderr).toMatch(
    /AUDIT_UNPROVEN: .* The public keys are in .*config\/tailgate, which other users can write/,
  );
  const cli = await runCli(RUN, { cwd: workspace.directory, env: environment(workspace) });
  expect(await cli.ended).toBe(78);
  expect(cli.stderr).toMatch(
    /^tailgate: AUDIT_KEY_UNUSABLE: .*config\/tailgate, which other users can write \(mode 0777\)/m,
  );
});

test("starts without a key if none can be created, says that it signs nothing, and the chain verifies", async () => {
  await using workspace = await Workspace.create({ config: "no directory" });
  await using gateway = start(workspace);
  const [, url] = await gateway.untilStderr(LISTENING);
  await gateway.untilStderr(
    / - tailgate\.audit - WARNING - The audit trail will have no signed checkpoints\./,
  );
  await send(url!, ["a"]);
  expect(await gateway.end()).toBe(0);
  expect(await (await verify(workspace)).ended).toBe(69);
  const cli = await verify(workspace, "--allow-unsigned");
  expect(await cli.ended).toBe(0);
  expect(cli.stdout).toMatch(
    /^not proven: there is no public key, so no checkpoint was verified\.$/m,
  );
  expect(cli.stdout).toMatch(
    /^not proven: 1 line after the newest checkpoint is consistent but not signed/m,
  );
});

test("a key inside the log directory ends startup with 78", async () => {
  await using workspace = await Workspace.create({
    "tailgate.yaml": "audit_key_file: logs/key.pem",
  });
  const cli = await runCli(RUN, { cwd: workspace.directory, env: environment(workspace) });
  expect(await cli.ended).toBe(78);
  expect(cli.stderr).toMatch(
    /^tailgate: AUDIT_KEY_UNUSABLE: .*logs\/key\.pem is inside the log directory/m,
  );
});

test("a checkpoint proves nothing without its key, and is evidence against other keys", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  const publicKey = workspace.path("config/tailgate/audit-key.pub.pem");
  cpSync(publicKey, workspace.path("mine.pem"));
  rmSync(workspace.path("config"), { recursive: true });
  const keyless = await verify(workspace);
  expect(await keyless.ended).toBe(69);
  expect(keyless.stdout).toMatch(
    /^not proven: there is no public key, so no checkpoint was verified\.$/m,
  );
  expect(keyless.stderr).toMatch(/AUDIT_UNPROVEN: .*There is no public key .*--key/);
  const { publicKey: other } = generateKeyPairSync("ed25519");
  writeFileSync(workspace.path("other.pem"), other.export({ type: "spki", format: "pem" }));
  const cli = await verify(workspace, "--key", "other.pem");
  expect(await cli.ended).toBe(1);
  expect(cli.stderr).toMatch(
    /checkpoints\.jsonl:1: this checkpoint is signed with the key [0-9a-f]{16}, which was not given/,
  );
  expect(await (await verify(workspace, "--key", "mine.pem")).ended).toBe(0);
});

test("a rewritten trail contradicts its checkpoints also without a key", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["spawned", "terminated"]);
  rmSync(workspace.path("config"), { recursive: true });
  const intact = await verify(workspace, "--allow-unsigned");
  expect([await intact.ended, intact.stderr]).toEqual([0, ""]);
  cpSync(workspace.path("logs/audit/checkpoints.jsonl"), workspace.path("kept.jsonl"));
  const file = auditFile(workspace);
  const lines = readFileSync(file, "utf8").replaceAll("terminated", "resumed").split("\n");
  const made = rechain(new Map([[file, lines.slice(0, 2)]])).get(file)!;
  writeFileSync(file, made.map((line) => `${line}\n`).join(""));
  expect(await (await verify(workspace, "--allow-unsigned")).ended).toBe(1);
  rmSync(workspace.path("logs/audit/checkpoints.jsonl"));
  const args = ["--allow-unsigned", "--checkpoint", "kept.jsonl"];
  const elsewhere = await verify(workspace, ...args);
  expect(await elsewhere.ended).toBe(1);
  expect(elsewhere.stderr).toMatch(/AUDIT_TRAIL_BROKEN: .*kept\.jsonl/s);
});

test.each([
  [["--log-dir", "nowhere"], /AUDIT_UNREADABLE: The audit trail cannot be read: .*nowhere/],
  [["--checkpoint", "nowhere"], /AUDIT_UNREADABLE: nowhere cannot be read/],
  [["--checkpoint", "mine.yaml"], /AUDIT_UNREADABLE: mine\.yaml contains no checkpoint/],
  [["--key", "mine.yaml"], /AUDIT_UNREADABLE: The public key mine\.yaml cannot be read/],
])("%j exits with 69", async (args, text) => {
  await using workspace = await Workspace.create({ "mine.yaml": "a: 1\n" });
  await run(workspace, ["a"]);
  const cli = await verify(workspace, ...args);
  expect(await cli.ended).toBe(69);
  expect(cli.stderr).toMatch(text);
});

test("/metrics and /api/stats show the trail's counters", async () => {
  await using workspace = await Workspace.create();
  await run(workspace, ["a"]);
  await using gateway = start(workspace);
  const [, url] = await gateway.untilStderr(LISTENING);
  await vi.waitFor(async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_audit_events 2$/m);
    expect(metrics).toMatch(/^tailgate_audit_sequence 2$/m);
    expect(metrics).toMatch(/^tailgate_audit_checkpoint_age_seconds \d/m);
  }, 10_000);
  const { audit } = (await (await fetch(`${url}/api/stats`)).json()) as { audit: object };
  expect(audit).toMatchObject({ count: 2, seq: 2, checkpoint: { seq: 2 } });
});
