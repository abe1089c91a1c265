/** Records logged just before their process exits, in real processes with the built package. */

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCli, Program, requireProgram } from "./harness/program.ts";
import { Workspace } from "./harness/workspace.ts";
import { LoggingManager } from "tailgate";

const EXPORTERS = `{ file: {}, "audit-file": {}, ...(process.env.CONSOLE && { console: {} }) }`;

/** Starts a gateway in `logs`, and defines `log`, which logs three lines and an audit event. */
const START = `
const logging = await LoggingManager.start({
  port: 0,
  logDir: process.env.LOG_DIR ?? "logs",
  exporters: ${EXPORTERS},
  journal: { engine: process.env.ENGINE ?? "sqlite" },
  write() {},
  ...(process.env.IGNORES_SIGNALS && { handleSignals: false }),
});
const logger = logging.getLogger("orchestrator.server");
const log = () => {
  for (let line = 0; line < 3; line++) logger.info("line " + line);
  logging.logAuditEvent({ eventType: "instance_spawn", instanceId: "i-1" });
};
`;

const FILES = {
  "package.json": '{ "type": "module" }',
  "ends.js": `import { LoggingManager } from "tailgate";
    ${START}
    globalThis.logger = logger;
    globalThis.logging = logging;
    globalThis.log = log;
    await import("./" + process.argv[2] + ".js");`,
  "exit.js": `setImmediate(() => { globalThis.log?.(); process.exit(7); });`,
  "throw.js": `setImmediate(() => { globalThis.log?.(); throw new Error("boom"); });`,
  "reject.js": `setImmediate(() => { globalThis.log?.(); Promise.reject(new Error("boom")); });`,
  "nothing-left.js": `log(); process.exitCode = 3;`,
  "SIGTERM.js": `setImmediate(() => { log(); process.kill(process.pid, "SIGTERM"); });`,
  "before-exit.js": `process.on("beforeExit", log);`,
  "late.js": `process.on("exit", log); setImmediate(() => process.exit(0));`,
  "once.js": `
    process.once("SIGTERM", async () => { log(); await logging.stop(); process.exitCode = 5; });
    const stay = setInterval(() => {}, 1000);
    process.once("SIGTERM", () => clearInterval(stay));
    setImmediate(() => process.kill(process.pid, "SIGTERM"));`,
  "waiting.js": `
    const { seq } = await logging.audit({ eventType: "instance_spawn", instanceId: "i-1" });
    for (let line = 0; line < 3; line++) logger.info("line " + line);
    await logging.flush();
    console.log(seq);`,
  "connected.js": `
    await new Promise((resolve) => {
      const { hostname, port } = new URL(logging.url);
      const socket = connect(Number(port), hostname, () => { socket.unref(); resolve(); });
    });
    log();`.replace(/^/, `import { connect } from "node:net";`),
  "common.cjs": `
    const { LoggingManager } = require("tailgate");
    (async () => { ${START} log(); process.exit(7); })();`,
  "worker.js": `import { LoggingManager } from "tailgate";
    import { parentPort } from "node:worker_threads";
    ${START}
    setImmediate(() => { log(); if (process.argv[2] === "exit") process.exit(7); });`,
  "alone.js": `
    import { resolveConfig, startTailgate } from "tailgate";
    const document = { exporters: { file: {} }, receivers: { otlp: { port: 0 } }, log_dir: "logs", port: 0 };
    const config = await resolveConfig({ document, env: {}, flags: {}, cwd: process.cwd(), base: "embedded" });
    const { stop } = await startTailgate(config, { write() {} });
    process.on("exit", () => console.log("ended"));
    // Only the gateway keeps it alive until then.
    setTimeout(() => console.log("alive"), 100).unref();
    setTimeout(() => stop(), 200).unref();`,
  "full.js": `
    import { randomBytes } from "node:crypto";
    import { LoggingManager } from "tailgate";
    const options = { port: 0, logDir: "logs", exporters: { file: {} } };
    const logger = (await LoggingManager.start(options)).getLogger("orchestrator.server");
    for (let line = 0; line < 5000; line++) logger.info("line", { random: randomBytes(200) });
    process.exit(7);`,
  "held-back.js": `
    import { LoggingManager } from "tailgate";
    const processors = { dedupe: {} };
    const logging = await LoggingManager.start({ port: 0, logDir: "logs", exporters: { file: {} }, processors, write() {} });
    const logger = logging.getLogger("orchestrator.server");
    for (let line = 0; line < 5; line++) logger.info("equal");
    process.exit(7);`,
  "in-worker.js": `
    import { Worker } from "node:worker_threads";
    const worker = new Worker(new URL("worker.js", import.meta.url), { argv: [process.argv[2]] });
    worker.on("exit", (code) => console.log("worker ended with " + code));`,
  "cluster.js": `
    import cluster from "node:cluster";
    import { LoggingManager } from "tailgate";
    if (cluster.isPrimary) {
      ${START}
      log();
      for (const name of ["logs", "other"]) {
        const worker = cluster.fork({ LOG_DIR: name });
        await new Promise((resolve) => worker.on("message", (text) => console.log(text)).on("exit", resolve));
      }
      console.log(new URL(logging.url).port === "0");
    } else {
      try {
        ${START}
        log();
        process.send("started in " + process.env.LOG_DIR, () => process.exit(0));
      } catch (error) {
        process.send(error.code, () => process.exit(1));
      }
    }`,
  "fake.js": `
    import { mock } from "node:test";
    const fake = () => {
      mock.timers.enable({ apis: ["setTimeout", "setInterval", "setImmediate", "Date"], now: 0 });
      performance.now = () => 0;
    };
    const when = process.argv[2];
    if (when === "before") fake();
    const { LoggingManager } = await import("tailgate");
    ${START}
    if (when === "after") {
      fake();
      process.nextTick = () => {};
      globalThis.queueMicrotask = () => {};
    }
    for (let line = 0; line < 3; line++) logger.info("line " + line);
    await logging.audit({ eventType: "instance_spawn", instanceId: "i-1" });
    await logging.flush();
    await logging.stop();`,
  "bursts.js": `
    import { LoggingManager } from "tailgate";
    const exporters = { file: { max_bytes: 50_000, backups: 1000 }, "audit-file": {} };
    const logging = await LoggingManager.start({ port: 0, logDir: "logs", exporters, write() {} });
    const logger = logging.getLogger("orchestrator.server");
    let lines = 0;
    const burst = () => {
      for (let line = 0; line < 100; line++) logger.info("line " + lines++, { filler: "x".repeat(200) });
      if (lines === 3000) process.exit(0);
      setTimeout(burst, 1);
    };
    burst();`,
};

const created: Workspace[] = [];

afterAll(async () => {
  for (const workspace of created) await workspace[Symbol.asyncDispose]();
});

async function userDirectory(): Promise<Workspace> {
  const workspace = await Workspace.create(FILES);
  created.push(workspace);
  await workspace.install("tailgate");
  return workspace;
}

/** Runs a script until it exits, in a workspace that contains the log directory. */
async function run(
  script: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<{ workspace: Workspace; program: Program; end: number | NodeJS.Signals }> {
  const workspace = await userDirectory();
  const options = { cwd: workspace.directory, env };
  const program = new Program(process.execPath, [script, ...args], options);
  return { workspace, program, end: await program.ended };
}

function messagesIn(path: string): unknown[] {
  const lines = readFileSync(path, "utf8").split("\n");
  expect(lines.pop()).toBe("");
  return lines.map((line) => (JSON.parse(line) as { message: string }).message);
}

function systemLines(workspace: Workspace, logDir = "logs"): unknown[] {
  return messagesIn(workspace.path(`${logDir}/orchestrator.log`));
}

function auditEvents(workspace: Workspace, logDir = "logs"): unknown[] {
  const directory = workspace.path(`${logDir}/audit`);
  const names = readdirSync(directory).filter((name) => name.startsWith("audit_"));
  return names
    .sort()
    .flatMap((name) => readFileSync(join(directory, name), "utf8").split("\n").slice(0, -1))
    .map((line) => (JSON.parse(line) as { event_type: string }).event_type)
    .filter((type) => type !== "audit_checkpoint");
}

const LINES = ["line 0", "line 1", "line 2"];
const EVENTS = ["instance_spawn"];

const ENDS: readonly (readonly [how: string, end: number | NodeJS.Signals])[] = [
  ["exit", 7],
  ["nothing-left", 3],
  ["SIGTERM", "SIGTERM"],
  ["before-exit", 0],
  ["late", 0],
  ["once", 5],
  ["waiting", 0],
  ["connected", 0],
];

describe.concurrent("records logged before process exit are in the files", () => {
  test.each(ENDS)("with the journal on disk, after %s", async (how, end) => {
    const { workspace, ...ended } = await run("ends.js", [how]);
    expect(ended.end).toBe(end);
    expect(systemLines(workspace)).toEqual(LINES);
    expect(auditEvents(workspace)).toEqual(EVENTS);
  });

  test.each([ENDS[0]!, ENDS[3]!, ENDS[4]!])(
    "with the journal in memory, after %s",
    async (how, end) => {
      const { workspace, ...ended } = await run("ends.js", [how], { ENGINE: "memory" });
      expect(ended.end).toBe(end);
      expect(systemLines(workspace)).toEqual(LINES);
      expect(auditEvents(workspace)).toEqual(EVENTS);
      expect(existsSync(workspace.path("logs/journal.db"))).toBe(false);
    },
  );

  test("signals are not handled if disabled", async () => {
    const env = { IGNORES_SIGNALS: "1" };
    const { workspace, end } = await run("ends.js", ["SIGTERM"], env);
    expect(end).toBe("SIGTERM");
    expect(systemLines(workspace)).toEqual([]);
  });

  test("and on the console, if configured", async () => {
    const { program, end } = await run("ends.js", ["exit"], { CONSOLE: "1" });
    expect(end).toBe(7);
    const messages = program.stderr.split("\n").slice(0, -1);
    expect(messages.map((line) => line.split(" - ").at(-1))).toEqual(LINES);
  });

  test("with CommonJS", async () => {
    const { workspace, end } = await run("common.cjs");
    expect(end).toBe(7);
    expect(systemLines(workspace)).toEqual(LINES);
    expect(auditEvents(workspace)).toEqual(EVENTS);
  });

  test.each([
    ["exit", 7],
    ["nothing-left", 0],
  ])("with the gateway in a worker thread, after %s there", async (how, code) => {
    const { workspace, program } = await run("in-worker.js", [how]);
    expect(program.stdout).toBe(`worker ended with ${code}\n`);
    expect(systemLines(workspace)).toEqual(LINES);
    expect(auditEvents(workspace)).toEqual(EVENTS);
  });

  test("in each process of a cluster with its own directory; sharing one is rejected", async () => {
    const { workspace, program } = await run("cluster.js");
    expect(program.stdout).toBe("LOG_DIR_IN_USE\nstarted in other\nfalse\n");
    for (const logDir of ["logs", "other"]) {
      expect(systemLines(workspace, logDir)).toEqual(LINES);
      expect(auditEvents(workspace, logDir)).toEqual(EVENTS);
    }
  });

  test("while files are written and rotated", async () => {
    const { workspace, end } = await run("bursts.js");
    expect(end).toBe(0);
    const names = readdirSync(workspace.path("logs")).filter((name) => name.startsWith("orch"));
    const age = (name: string): number => Number(name.split(".")[2] ?? 0);
    const oldestFirst = names.sort((one, other) => age(other) - age(one));
    const lines = oldestFirst.flatMap((name) => messagesIn(workspace.path(`logs/${name}`)));
    expect(lines).toEqual(Array.from({ length: 3000 }, (_, line) => `line ${line}`));
  });
});

test("what processors hold back is written", async () => {
  const { workspace, end } = await run("held-back.js");
  expect(end).toBe(7);
  const text = readFileSync(workspace.path("logs/orchestrator.log"), "utf8");
  const counts = text
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { log_count?: number }).log_count);
  expect(counts).toEqual([undefined, 4]);
});

test("records that the disk rejects are reported", async () => {
  await requireProgram("prlimit", "util-linux");
  const { directory: cwd } = await userDirectory();
  const args = ["--fsize=400000:unlimited", process.execPath, "full.js"];
  const program = new Program("prlimit", args, { cwd });
  expect(await program.ended).toBe(7);
  expect(program.stderr).toMatch(
    /tailgate\.journal - ERROR - The process exits, and the disk has not confirmed the last 5000 records\.$/m,
  );
});

test.concurrent.each(["before", "after"])(
  "nothing hangs if timers were replaced %s the start",
  async (when) => {
    const { workspace, end } = await run("fake.js", [when]);
    expect(end).toBe(0);
    expect(systemLines(workspace)).toEqual(LINES);
    expect(auditEvents(workspace)).toEqual(EVENTS);
  },
);

test.concurrent("a gateway keeps its process alive until stopped", async () => {
  const { program, end } = await run("alone.js");
  expect(end).toBe(0);
  expect(program.stdout).toBe("alive\nended\n");
});

test.concurrent.each(["throw", "reject"])(
  "a %s terminates the process as without Tailgate, after everything is written",
  async (how) => {
    const { program, end, workspace } = await run("ends.js", [how]);
    const bare = new Program(process.execPath, [`${how}.js`], { cwd: workspace.directory });
    expect(end).toBe(await bare.ended);
    expect(program.stderr).toBe(bare.stderr);
    expect(bare.stderr).toContain("Error: boom\n");
    expect(systemLines(workspace)).toEqual(LINES);
    expect(auditEvents(workspace)).toEqual(EVENTS);
  },
);

test("a stopped gateway leaves no listeners", async () => {
  const names = ["beforeExit", "exit", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2"];
  const counts = (): number[] => names.map((name) => process.listenerCount(name));
  const before = counts();
  const { directory } = await userDirectory();
  const options = { port: 0, logDir: join(directory, "logs"), exporters: {}, write: () => {} };
  const gateways = [await LoggingManager.start(options)];
  const second = { ...options, logDir: join(directory, "other"), registerGlobally: false };
  gateways.push(await LoggingManager.start(second));
  expect(counts()).toEqual(before.map((count) => count + 1));
  for (const gateway of gateways) await gateway.stop();
  expect(counts()).toEqual(before);
});

describe("after an exit without stop", () => {
  let workspace: Workspace;
  const states: { epoch: string; newest: number }[] = [];

  /** Logs the same lines again, and reads the state of the journal. */
  const AGAIN = `
    const stats = await (await fetch(logging.url + "/api/stats")).json();
    console.log(JSON.stringify(stats.journal));
    log();
    setImmediate(() => process.exit(0));`;

  beforeAll(async () => {
    workspace = await userDirectory();
    await workspace.write("again.js", AGAIN);
    for (let start = 0; start < 2; start++) {
      const options = { cwd: workspace.directory };
      const stdout = await Program.run(process.execPath, ["ends.js", "again"], options);
      states.push(JSON.parse(stdout) as { epoch: string; newest: number });
    }
  });

  test("the next start continues the same epoch, and the files contain each line once", () => {
    expect(new Set(states.map(({ epoch }) => epoch)).size).toBe(1);
    expect(systemLines(workspace)).toEqual([...LINES, ...LINES]);
    expect(auditEvents(workspace)).toEqual([...EVENTS, ...EVENTS]);
  });

  test("the audit trail verifies", async () => {
    const args = ["audit", "verify", "--log-dir", "logs"];
    const cli = await runCli(args, { cwd: workspace.directory });
    expect([await cli.ended, cli.stderr]).toEqual([0, ""]);
  });
});
