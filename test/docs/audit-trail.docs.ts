/** Runs the examples of docs/audit-trail.md and examples/audit against real trails. */

import { createHash, createPublicKey, verify } from "node:crypto";
import { cp, mkdir, readFile, readdir, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { AuditHarness, freezeClock } from "../harness/audit-trail.ts";
import { MAIN, Program, skipTest, startCli } from "../harness/program.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { freePort } from "../peers/peer.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/audit-trail.md");
const readme = await Document.read("examples/audit/README.md");

const EXAMPLES = repositoryPath("examples/audit");

const CLI = `'${process.execPath}' '${MAIN}'`;

const CONFIG = "receivers: { otlp: { grpc_port: null } }\n";

/** Skips the running test if a command is missing. */
async function requireCommand(name: string, debianPackage: string): Promise<void> {
  await using found = new Program("bash", ["-c", `command -v ${name}`], { cwd: "/" });
  if ((await found.ended) === 0) return;
  skipTest(`${name} is missing: npm run setup:docs, or apt-get install ${debianPackage}`);
}

/** Runs the script of the forgery until `end`, in a directory of its own. */
async function runForgery(end?: string): Promise<{ workspace: Workspace; shown: string }> {
  const workspace = await Workspace.create({ "tailgate.yaml": CONFIG });
  const whole = page.example("audit-rewrite");
  const script = end === undefined ? whole : whole.slice(0, whole.indexOf(end));
  return { workspace, shown: await runScript(workspace, script) };
}

let original: Workspace;

beforeAll(async () => {
  ({ workspace: original } = await runForgery("\nrm -r logs"));
});

afterAll(() => original[Symbol.asyncDispose]());

/** A copy of the trail of the script's first gateway, with its key: three events and a checkpoint. */
async function honestTrail(): Promise<Workspace> {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await run(workspace, `cp -a '${original.directory}/logs' '${original.directory}/config' .`);
  return workspace;
}

interface Ran {
  readonly code: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  { directory }: Workspace,
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  const given = { XDG_CONFIG_HOME: `${directory}/config`, ...env };
  await using bash = new Program("bash", ["-c", script], { cwd: directory, env: given });
  const code = await bash.ended;
  return { code, stdout: bash.stdout, stderr: bash.stderr };
}

async function runScript(workspace: Workspace, script: string): Promise<string> {
  const [port, otlpPort] = [await freePort(), await freePort()];
  const { stdout, stderr } = await run(
    workspace,
    script
      .replaceAll(
        "node_modules/.bin/tailgate run",
        `${CLI} run --port ${port} --otlp-port ${otlpPort}`,
      )
      .replaceAll("node_modules/.bin/tailgate", CLI)
      .replaceAll(":8001/", `:${port}/`)
      .replaceAll(":4318/", `:${otlpPort}/`),
  );
  return stdout + stderr;
}

/** The output without what differs from run to run: days, times and speed. */
function normalized(output: string): string {
  return output
    .replaceAll(/audit_\d{8}/g, "audit_DAY")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replaceAll(/\d+ MB\/s/g, "SPEED");
}

const [verified = "", broken = ""] = page.listings.map(normalized);

test("an intact trail is reported as shown", async () => {
  const workspace = await honestTrail();
  const script = page.example("audit-verify").replace("npx tailgate", CLI);
  const { code, stdout } = await run(workspace, script);
  expect([code, normalized(stdout)]).toEqual([0, verified]);
});

test("a forgery is detected with a kept checkpoint only", async () => {
  const { workspace, shown } = await runForgery();
  await workspace[Symbol.asyncDispose]();
  const output = normalized(shown);
  expect(output).toContain("0 from elsewhere, 2 compared");
  expect(output.match(/^The audit trail is intact\.$/gm)).toHaveLength(1);
  expect(output.endsWith(broken)).toBe(true);
});

test("the line shown has the hash of a first event", () => {
  const line = page.example("audit-line").trimEnd();
  const [hashed, hash] = line.slice(0, -2).split(',"hash":"');
  const sum = createHash("sha256").update("0".repeat(64)).update(hashed!).digest("hex");
  expect(hash).toBe(sum);
});

test("checkpoints have the fields of the table, and keys the files and modes", async () => {
  const workspace = await honestTrail();
  const lines = await readFile(workspace.path("logs/audit/checkpoints.jsonl"), "utf8");
  const [checkpoint] = lines.split("\n").map((line) => (line && JSON.parse(line)) as object);
  const fields = tableAfter(page, "Checkpoints").flatMap(([names]) => codes(names!));
  expect(fields).toEqual(Object.keys(checkpoint!));
  const { key } = checkpoint as { key: string };
  const folder = workspace.path("config/tailgate");
  const modes = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const { mode } = await stat(join(folder, name));
      return [`\`${name.replace(key, "<id>")}\``, `0${(mode & 0o777).toString(8)}`];
    }),
  );
  const rows = tableAfter(page, "The signing key").map(([name, mode]) => [name, mode]);
  expect(new Set(modes.map(String))).toEqual(new Set(rows.map(String)));
});

function codes(markdown: string): string[] {
  return Array.from(markdown.matchAll(/`([^`]+)`/g), ([, code]) => code!);
}

describe("exit codes", () => {
  test("are those of the table", async () => {
    const workspace = await honestTrail();
    const exits = async (script: string): Promise<unknown> => (await run(workspace, script)).code;
    const found = [
      await exits(`${CLI} audit verify --log-dir logs`),
      await exits(`cp -r logs changed; sed -i s/rejected/approved/ changed/audit/audit_*;
        ${CLI} audit verify --log-dir changed`),
      await exits(`${CLI} audit verify --log-dir missing`),
      await exits(`echo "log_dirr: x" > wrong.yaml; ${CLI} audit verify --config wrong.yaml`),
    ];
    expect(found).toEqual(
      tableAfter(page, "Exit codes of `audit verify`").map(([code]) => Number(code)),
    );
    const unsigned = `rm -r config; ${CLI} audit verify --log-dir logs`;
    expect(await exits(unsigned)).toBe(69);
  });

  test("are 69 and, if that is accepted, 0 for a trail without checkpoints", async () => {
    const workspace = await honestTrail();
    const script = `mkdir -p bare/audit; head -n 3 logs/audit/audit_* > bare/audit/$(ls logs/audit | head -n 1)
      ${CLI} audit verify --log-dir bare`;
    const proven = await run(workspace, script);
    expect([proven.code, proven.stderr]).toEqual([69, expect.stringContaining("AUDIT_UNPROVEN")]);
    expect((await run(workspace, `${script} --allow-unsigned`)).code).toBe(0);
  });
});

describe("checkpoints elsewhere", () => {
  test("are pulled, and verify a copy with the public key", async () => {
    await requireCommand("rsync", "rsync");
    const workspace = await honestTrail();
    const source = workspace.path("logs/audit");
    await cp(join(EXAMPLES, "keep-checkpoints.sh"), workspace.path("keep-checkpoints.sh"));
    const pull = page
      .example("audit-keep")
      .replace("ssh gateway.example.com", "")
      .replace("/var/log/tailgate/audit", source);
    expect((await run(workspace, pull)).code).toBe(0);
    const before = await readFile(workspace.path("kept.jsonl"), "utf8");
    expect(before).toBe(await readFile(join(source, "checkpoints.jsonl"), "utf8"));
    expect((await run(workspace, pull)).code).toBe(0);
    expect(await readFile(workspace.path("kept.jsonl"), "utf8")).toBe(before);

    const check = page
      .example("audit-verify-copy")
      .replace("gateway.example.com:/var/log/tailgate/audit", source)
      .replace("npx tailgate", CLI);
    const key = workspace.path("config/tailgate/audit-key.pub.pem");
    await cp(key, workspace.path("audit-key.pub.pem"));
    const { code, stdout } = await run(workspace, check);
    expect([code, stdout]).toEqual([0, expect.stringContaining("2 from elsewhere")]);

    // The intruder removes the newest event and everything that tells of it.
    const cut = `cd logs/audit; for f in *.jsonl; do sed -i '$d' $f; done; sed -i '$d' audit_*.jsonl
      : > checkpoints.jsonl`;
    expect((await run(workspace, cut)).code).toBe(0);
    expect(await run(workspace, check)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("kept.jsonl:1"),
    });
    // What was kept stays, and an empty answer is an error.
    expect((await run(workspace, pull)).code).toBe(1);
    expect(await readFile(workspace.path("kept.jsonl"), "utf8")).toBe(before);
  });

  test("are followed with `tailgate tail`", async () => {
    const command = "npx tailgate tail --json --since 1d action:audit_checkpoint >> kept.jsonl";
    const [, , ...words] = page.command(command).replace(" >> kept.jsonl", "").split(" ");
    await using workspace = await Workspace.create();
    const key = workspace.path("keys/audit-key.pem");
    const config = `audit_key_file: ${key}\nreceivers: { otlp: { port: null } }\n`;
    await using gateway = await GatewayProcess.start(config);
    await post(gateway.url, "deploy_requested");
    await gateway.stop();
    await gateway.restart();
    const env = { ORCHESTRATOR_PORT: String(gateway.port) };
    await using tail = startCli(words, { env });
    await tail.untilStdout(/"signature":"[^"]*"\}\}\}\}\n/);
  });
});

async function post(url: string, message: string): Promise<void> {
  const logRecords = [{ body: { stringValue: message } }];
  const scopeLogs = [{ scope: { name: "orchestrator.audit" }, logRecords }];
  const response = await fetch(`${url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs }] }),
  });
  expect(response.status).toBe(200);
}

interface Posted {
  readonly method: string | undefined;
  readonly body: string;
}

/** A server that collects the requests of an alarm. */
async function alarmServer(): Promise<{ url: string; posted: readonly Posted[] }> {
  const posted: Posted[] = [];
  const server = createServer(async (request, response) => {
    posted.push({ method: request.method, body: await textOf(request) });
    response.end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, posted };
}

/** A `tailgate` command in a directory of its own, as an installation has it. */
async function installCommand(workspace: Workspace): Promise<string> {
  const path = workspace.path("bin/tailgate");
  await workspace.write("bin/tailgate", `#!/bin/sh\nexec ${CLI} "$@"\n`);
  await Program.run("chmod", ["+x", path], { cwd: workspace.directory });
  return dirname(path);
}

describe("an alarm", () => {
  test("is raised by the script for a changed trail, not for an intact one", async () => {
    const workspace = await honestTrail();
    const bin = await installCommand(workspace);
    const { url, posted } = await alarmServer();
    await cp(join(EXAMPLES, "verify-audit.sh"), workspace.path("verify-audit.sh"));
    const script = readme
      .example("audit-alarm")
      .replace("http://127.0.0.1:9000/", url)
      .replaceAll("node_modules/.bin/tailgate", `${bin}/tailgate`);
    const { code, stdout, stderr } = await run(workspace, script);
    expect(code).toBe(1);
    expect(stdout).toContain("The audit trail is intact.");
    const subject = `AUDIT TRAIL BROKEN on ${hostname()}\n`;
    expect(stderr.startsWith(subject)).toBe(true);
    expect(posted).toEqual([{ method: "POST", body: stderr }]);
    expect(stderr).toMatch(/audit_\d{8}\.jsonl:2: /);
  });

  test("distinguishes a trail that was not verified, and requests a URL after a success", async () => {
    const workspace = await honestTrail();
    const bin = await installCommand(workspace);
    const { url, posted } = await alarmServer();
    const env = { TAILGATE: `${bin}/tailgate`, AUDIT_OK_URL: url, AUDIT_ALARM_URL: url };
    const script = join(EXAMPLES, "verify-audit.sh");
    expect((await run(workspace, `${script} --log-dir logs`, env)).code).toBe(0);
    expect(posted).toEqual([{ method: "GET", body: "" }]);
    expect((await run(workspace, `${script} --log-dir missing`, env)).code).toBe(69);
    expect(posted[1]!.body).toMatch(/^audit trail not verified on /);
    const nowhere = { ...env, AUDIT_ALARM_URL: "http://127.0.0.1:1/" };
    const unreported = await run(workspace, `${script} --log-dir missing`, nowhere);
    expect(unreported).toMatchObject({ code: 69 });
    expect(unreported.stderr).toMatch(/The alarm could not be delivered\.\n$/);
  });

  test("is raised by the line for cron", async () => {
    const workspace = await honestTrail();
    const bin = await installCommand(workspace);
    const { url, posted } = await alarmServer();
    const line = page.example("audit-cron");
    const crontab = await readFile(join(EXAMPLES, "tailgate-audit.cron"), "utf8");
    expect(crontab).toContain(`\n${line}`);
    const [, minutes, , command] = /^(\S+) (\* \* \* \*) tailgate (.*)\n$/.exec(line)!;
    expect(minutes).toBe("17");
    await workspace.write("etc/tailgate.yaml", `log_dir: ${workspace.path("logs")}\n`);
    const settings = crontab.match(/^(?:MAILTO|AUDIT_ALARM_URL|PATH)=.*$/gm)!;
    const script = `${settings.map((setting) => `export ${setting}`).join("\n")}\n${command}`
      .replace("https://ntfy.example.com/audit", url)
      .replace("PATH=/opt/tailgate/bin", `PATH=${bin}`)
      .replace("/opt/tailgate/lib/node_modules/tailgate/examples/audit", EXAMPLES)
      .replace("/etc/tailgate/tailgate.yaml", workspace.path("etc/tailgate.yaml"));
    expect(await run(workspace, script)).toEqual({ code: 0, stdout: "", stderr: "" });
    await run(workspace, "sed -i s/rejected/approved/ logs/audit/audit_*.jsonl");
    expect(await run(workspace, script)).toMatchObject({ code: 1, stdout: "" });
    expect(posted).toHaveLength(1);
  });

  test("is posted by the unit of systemd, whose files are valid", async () => {
    await requireCommand("systemd-analyze", "systemd");
    const workspace = await honestTrail();
    const bin = await installCommand(workspace);
    await mkdir(workspace.path("units"));
    const names = page
      .example("audit-systemd")
      .match(/tailgate-audit\S*\.(?:service|timer)(?= )/g)!;
    expect(names).toHaveLength(3);
    for (const name of names) {
      const unit = await readFile(join(EXAMPLES, name), "utf8");
      await workspace.write(`units/${name}`, unit.replaceAll("/opt/tailgate/bin", bin));
    }
    const shown = await run(
      workspace,
      `systemd-analyze verify ${names.map((name) => `units/${name}`).join(" ")}`,
    );
    expect(shown).toEqual({ code: 0, stdout: "", stderr: "" });
  });
});

/** Records events with another gateway in the directory, which continues the trail. */
async function recordMore(workspace: Workspace, ...events: readonly string[]): Promise<void> {
  const whole = page.example("audit-rewrite");
  const definition = whole.slice(0, whole.indexOf("\nrecord "));
  await runScript(workspace, `${definition}\nrecord ${events.join(" ")}`);
}

const VERIFY = `${CLI} audit verify --log-dir logs`;

test("a rotated key is recorded, and the trail verifies", async () => {
  const workspace = await honestTrail();
  await workspace.write("tailgate.yaml", CONFIG);
  await run(workspace, "mv config/tailgate/audit-key.pem old.pem");
  await recordMore(workspace, "after");
  expect(await run(workspace, "grep -h audit_key_changed logs/audit/audit_*")).toMatchObject({
    stdout: expect.stringMatching(
      /"logger":"orchestrator\.audit\.key".*"previous_key":"\w+","key":"\w+","public_key":"-----BEGIN/,
    ),
  });
  expect((await run(workspace, "ls config/tailgate")).stdout.match(/\.pub\.pem/g)).toHaveLength(3);
  expect((await run(workspace, VERIFY)).code).toBe(0);
});

/** By the first two words of the situations in the page's table: what happens, and the exit code and a part of the report. */
const SITUATIONS: Readonly<
  Record<string, (workspace: Workspace) => Promise<[code: number, shown: string]>>
> = {
  "Lines before": async (workspace) => {
    await workspace.write("tailgate.yaml", CONFIG);
    const legacy = '{"timestamp": "2025-10-13T09:27:24", "event": "instance_spawn"}';
    const script = `cd logs; rm journal.* audit/checkpoints.jsonl; echo '${legacy}' > audit/audit_*`;
    await run(workspace, script);
    await recordMore(workspace, "first");
    return [0, "1 legacy line"];
  },
  "Retention deleted": async (workspace) => {
    const moveTo = freezeClock();
    const harness = await AuditHarness.create();
    await harness.run(["first"]);
    moveTo(1);
    await harness.run(["second"]);
    vi.useRealTimers();
    const [oldest] = harness.files().keys();
    await run(
      workspace,
      `rm -r logs config; mkdir config; cp -a ${harness.logDir} .
      cp -a ${dirname(harness.keyFile)} config/tailgate; rm logs/audit/${oldest}`,
    );
    return [0, "older files were deleted, by the retention policy or by someone"];
  },
  "A crash": async (workspace) => {
    await run(workspace, `printf '{"timestamp":"2026' >> $(ls logs/audit/audit_*)`);
    return [0, "incomplete last line"];
  },
  "`journal.db` was": async (workspace) => {
    await workspace.write("tailgate.yaml", CONFIG);
    await run(workspace, "rm logs/journal.db*");
    await recordMore(workspace, "after");
    return [0, "6 lines in order"];
  },
  "A gateway": async (workspace) => {
    await workspace.write("tailgate.yaml", `journal: { engine: memory }\n${CONFIG}`);
    await recordMore(workspace, "unchained");
    return [1, "no seq and no hash"];
  },
  "`audit-file` has": async (workspace) => {
    const exporters = "exporters: { audit-file: { level: WARNING } }\n";
    await workspace.write("tailgate.yaml", exporters + CONFIG);
    await recordMore(workspace, "informational");
    return [1, "AUDIT_TRAIL_BROKEN"];
  },
  "A line": async (workspace) => {
    await run(workspace, "sed -i s/rejected/approved/ logs/audit/audit_*");
    return [1, "jsonl:2: "];
  },
};

describe("what looks like tampering", () => {
  const rows = tableAfter(page, "What looks like tampering, and what does not");
  const situations = rows.map(([situation]) => situation!);

  test("every row has a test", () => {
    expect(situations.map((one) => one.split(" ").slice(0, 2).join(" "))).toEqual(
      Object.keys(SITUATIONS),
    );
  });

  test.each(situations)("%s", async (situation) => {
    const workspace = await honestTrail();
    const prepare = SITUATIONS[situation.split(" ").slice(0, 2).join(" ")]!;
    const [code, part] = await prepare(workspace);
    const found = await run(workspace, VERIFY);
    expect([found.stdout + found.stderr, found.code]).toEqual([
      expect.stringContaining(part),
      code,
    ]);
  });
});

test("a line and a checkpoint can be checked with shell tools", async () => {
  await requireCommand("openssl", "openssl");
  const workspace = await honestTrail();
  const publicKey = workspace.path("config/tailgate/audit-key.pub.pem");
  const script = page
    .example("audit-check")
    .replaceAll("/tmp/", `${workspace.directory}/`)
    .replace("~/.config/tailgate/audit-key.pub.pem", publicKey);
  const { code, stdout } = await run(workspace, `cd logs/audit\n${script}`);
  const names = await readdir(workspace.path("logs/audit"));
  const name = names.find((one) => one !== "checkpoints.jsonl");
  const lines = (await readFile(workspace.path(`logs/audit/${name}`), "utf8")).split("\n");
  const { hash } = JSON.parse(lines[1]!) as { hash: string };
  expect([code, stdout]).toEqual([0, `${hash}  -\nSignature Verified Successfully\n`]);
  // Node agrees, so the script did hash and sign what it should.
  const [signed, signature] = await Promise.all(
    ["signed", "signature"].map((one) => readFile(workspace.path(one))),
  );
  const key = createPublicKey(await readFile(publicKey));
  expect(verify(null, signed!, key, signature!)).toBe(true);
});
