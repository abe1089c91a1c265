/** Runs docs/guides/migrating-from-madrox.md with a program that logs and writes files as Madrox does. */

import { appendFile, cp, readFile, symlink } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { GatewayProcess } from "../harness/gateway.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program, requireProgram, requirePython, runCli, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/guides/migrating-from-madrox.md");

/** Logs what instance_manager.py does, and writes the audit file as Madrox's LoggingManager does. */
const RUN_ORCHESTRATOR = `
import datetime, json, logging, os, sys
import instance_manager

assert __name__ == "__main__"
STANDARD = vars(logging.makeLogRecord({})).keys()

class JsonLine(logging.Formatter):
    def format(self, record):
        time = datetime.datetime.fromtimestamp(record.created).isoformat()
        line = {"timestamp": time, "level": record.levelname, "event": record.getMessage(), "logger": record.name}
        return json.dumps({**line, **{k: v for k, v in vars(record).items() if k not in STANDARD and k != "message"}})

directory = os.path.join(os.environ["MADROX_LOG_DIR"], "audit")
os.makedirs(directory, exist_ok=True)
audit = logging.getLogger("orchestrator.audit")
audit.setLevel(logging.INFO)
audit.propagate = False
audit.handlers.clear()
audit.addHandler(logging.FileHandler(os.path.join(directory, datetime.datetime.now().strftime("audit_%Y%m%d.jsonl"))))
audit.handlers[0].setFormatter(JsonLine())
logging.getLogger("orchestrator").setLevel(logging.INFO)
logging.getLogger("uvicorn.access").setLevel(logging.INFO)
logging.getLogger("uvicorn.access").info("GET / 200")
logging.getLogger("src.orchestrator.server.core").setLevel(logging.INFO)
logging.getLogger("src.orchestrator.server.core").info("Server started")
instance_manager.work()
`;

const AUDIT_LINE = `{"timestamp": "2025-10-13T09:27:24.350163", "level": "INFO", "event": "instance_spawn", "logger": "orchestrator.audit", "event_type": "instance_spawn", "instance_id": "abc-123", "details": {}}\n`;

/** The audit file of today. */
const AUDIT_FILE = `audit/audit_${new Date().toISOString().slice(0, 10).replaceAll("-", "")}.jsonl`;

interface Started {
  readonly program: Program;
  readonly url: string;
  readonly otlpUrl: string;
}

/** An operator's home directory, with Tailgate's clone, Madrox's checkout, and the gateway's directory. */
class Home {
  readonly #workspace: Workspace;
  readonly #python: string;

  private constructor(workspace: Workspace, python: string) {
    this.#workspace = workspace;
    this.#python = python;
  }

  static async create(): Promise<Home> {
    const python = await requirePython("loguru");
    await requireProgram("jq", "jq");
    const workspace = await Workspace.create({
      "gateway/tailgate.yaml": `receivers: { otlp: { port: 0, grpc_port: null } }\n${page.example("config-beside-madrox").replace("port: 8010", "port: 0")}`,
      "madrox/run_orchestrator.py": RUN_ORCHESTRATOR,
    });
    onTestFinished(() => workspace[Symbol.asyncDispose]());
    await symlink(repositoryPath("."), workspace.path("tailgate"));
    const manager = repositoryPath("examples/python/instance_manager.py");
    await cp(manager, workspace.path("madrox/instance_manager.py"));
    return new Home(workspace, python);
  }

  path(name: string): string {
    return this.#workspace.path(name);
  }

  /** A script of the page, with Madrox's log directory in this home. */
  script(name: string): string {
    return page
      .example(name)
      .replaceAll("/tmp/madrox_logs", this.path("old_path"))
      .replace(/uv run [^]*? python /, `${this.#python} `);
  }

  start(script: string, directory = "."): Program {
    const program = new Program("bash", ["-ec", script], {
      cwd: this.path(directory),
      env: {
        HOME: this.path("."),
        PATH: `${dirname(process.execPath)}:${process.env["PATH"]}`,
        PYTHONDONTWRITEBYTECODE: "1",
        // Madrox's, which the gateway must not use.
        ORCHESTRATOR_PORT: "1",
        MADROX_LOG_DIR: this.path("old_path"),
      },
    });
    onTestFinished(() => program[Symbol.asyncDispose]());
    return program;
  }

  async run(script: string, directory?: string): Promise<string> {
    const program = this.start(script, directory);
    const end = await program.ended;
    if (end !== 0) throw new Error(`${script} ended with ${end}:\n${program.stderr}`);
    return program.stdout;
  }

  async startGateway(): Promise<Started> {
    // Without npm, which does not end with its child.
    const script = this.script("madrox-gateway")
      .replace(/^env/m, "exec env")
      .replace("npm start --", "node dist/cli/main.js run");
    const program = this.start(script);
    const [, otlpUrl] = await program.untilStderr(/listening on (\S+)\/v1\/logs \(OTLP\/HTTP/);
    const [, url] = await program.untilStderr(/listening on (\S+) \(dashboard/);
    return { program, url: url!, otlpUrl: otlpUrl! };
  }

  async runMadrox({ otlpUrl }: Started): Promise<void> {
    const start = this.script("madrox-start");
    await this.run(`export OTEL_EXPORTER_OTLP_ENDPOINT=${otlpUrl}\n${start}`, "madrox");
  }
}

async function loggersOf({ url }: Started): Promise<string[]> {
  const answer = await fetch(`${url}/api/logs?order=asc&limit=1000`);
  const { records } = (await answer.json()) as { records: { data: { logger: string } }[] };
  const loggers = new Set(records.map(({ data }) => data.logger));
  loggers.delete("orchestrator.audit.checkpoint");
  return [...loggers].toSorted();
}

const LOGGERS = [
  "instance.abc-123",
  "orchestrator.audit",
  "orchestrator.instance_manager",
  "src.orchestrator.server.core",
];

async function verify(directory: string): Promise<string> {
  const { stdout, stderr } = await runCli(["audit", "verify", "--log-dir", directory]);
  return `${stdout}${stderr}`;
}

describe("the steps", () => {
  test("the wrapper is the file, and its packages are those that are tested", async () => {
    const source = await readFile(repositoryPath("examples/python/run_madrox.py"), "utf8");
    expect(source).toContain(page.example("madrox-wrapper"));
    const requirements = await readFile(repositoryPath("examples/python/requirements.txt"), "utf8");
    const packages = Array.from(
      page.example("madrox-start").matchAll(/--with (\S+)/g),
      ([, p]) => p,
    );
    expect(packages).toHaveLength(3);
    for (const name of packages) expect(requirements).toContain(`${name}\n`);
  });

  test("side by side, compared, with the directories swapped", async () => {
    const home = await Home.create();
    const gateway = await home.startGateway();
    await home.runMadrox(gateway);
    expect(await loggersOf(gateway)).toEqual(LOGGERS);
    expect(await home.run(home.script("madrox-compare"))).toBe("same\n");

    gateway.program.process.kill("SIGTERM");
    await gateway.program.ended;
    await home.run(home.script("madrox-swap"));
    const config = await readFile(home.path("gateway/tailgate.yaml"), "utf8");
    expect((parse(config) as { log_dir: string }).log_dir).toBe(home.path("old_path"));
    const swapped = await home.startGateway();
    expect(await loggersOf(swapped)).toEqual(LOGGERS);
    expect(await verify(home.path("old_path"))).toContain("The audit trail is intact.\n");
    expect(await readFile(home.path(`madrox_logs/${AUDIT_FILE}`), "utf8")).toMatch(
      /^\{"timestamp": /,
    );
  });
});

describe("the tables", () => {
  test("Madrox's variables are used", async () => {
    await using workspace = await Workspace.create();
    const env = {
      MADROX_LOG_DIR: workspace.path("logs"),
      LOG_DIR: "/unused",
      LOG_LEVEL: "warning",
      ORCHESTRATOR_PORT: "8123",
      MAX_WS_CONNECTIONS: "7",
    };
    for (const name of Object.keys(env)) expect(page.inlineCode).toContain(name);
    const { stdout } = await runCli(["validate"], { cwd: workspace.directory, env });
    for (const line of [`log_dir: ${env.MADROX_LOG_DIR}`, "log_level: WARNING", "port: 8123"])
      expect(stdout).toContain(line);
    expect(stdout).toContain("max_connections: 7");
  });

  test("paths without a replacement are 404, and the replacements respond", async () => {
    await using gateway = await GatewayProcess.start(
      page
        .example("config-beside-madrox")
        .replace("port: 8010\n", "receivers: { otlp: { port: 0, grpc_port: null } }\n")
        .replace(/^log_dir.*\n/m, ""),
    );
    const [, section] = page.text.split("## What has no replacement yet");
    const rows = section!.split("## Switch over")[0]!.split("\n");
    const status = async (path: string): Promise<number> =>
      (await fetch(`${gateway.url}${path.replace("{id}", "abc-123")}`)).status;
    const old = rows.flatMap((row) =>
      Array.from(
        row.split("|")[1]?.matchAll(/`(?:GET )?(\/[^`.]*)(?:\.\.\.)?`/g) ?? [],
        ([, p]) => p!,
      ),
    );
    expect(old.length).toBeGreaterThan(5);
    expect(await Promise.all(old.map(status))).toEqual(old.map(() => 404));
    const replacements = rows.flatMap((row) =>
      Array.from(row.split("|")[2]?.matchAll(/`(\/[^`]*)`/g) ?? [], ([, path]) => path!),
    );
    expect(replacements.length).toBeGreaterThan(3);
    expect(await Promise.all(replacements.map(status))).toEqual(replacements.map(() => 200));
    for (const port of [3000, 3002]) {
      const headers = { Origin: `http://localhost:${port}` };
      expect((await fetch(`${gateway.url}/ws/logs`, { headers })).status).toBe(426);
    }
  });
});

describe("one log directory for both", () => {
  const config = "receivers: { otlp: { port: 0, grpc_port: null } }\nport: 0\nlog_dir: logs\n";

  /** Runs a gateway until an audit event is written. */
  async function writeEvent(workspace: Workspace, exporters = ""): Promise<Program> {
    await workspace.write("tailgate.yaml", `${config}${exporters}`);
    const program = startCli(["run"], { cwd: workspace.directory });
    const [, url] = await program.untilStderr(/listening on (\S+) \(dashboard/);
    await postMessages(url!, ["instance_spawn"], { logger: "orchestrator.audit" });
    await program.end();
    return program;
  }

  test("Tailgate continues the files of a Madrox that has ended, but not the reverse", async () => {
    await using workspace = await Workspace.create({ [`logs/${AUDIT_FILE}`]: AUDIT_LINE });
    await writeEvent(workspace);
    const verified = await verify(workspace.path("logs"));
    expect(verified).toContain("legacy line");
    expect(page.inlineCode).toContain("The audit trail is intact.");
    expect(verified).toContain("The audit trail is intact.\n");

    await appendFile(workspace.path(`logs/${AUDIT_FILE}`), AUDIT_LINE);
    expect(await verify(workspace.path("logs"))).toMatch(
      /AUDIT_TRAIL_BROKEN[^]*no seq and no hash/,
    );
  });

  test("enabling audit-file later is reported as a broken trail", async () => {
    await using workspace = await Workspace.create({ [`logs/${AUDIT_FILE}`]: AUDIT_LINE });
    await writeEvent(workspace, "exporters: { websocket: {} }\n");
    await writeEvent(workspace);
    expect(await verify(workspace.path("logs"))).toContain("AUDIT_TRAIL_BROKEN");
  });

  test("a process that has the file open is named", async () => {
    await using workspace = await Workspace.create({ "logs/orchestrator.log": "" });
    const { directory: cwd } = workspace;
    const hold = "exec 3>>logs/orchestrator.log; echo open; exec sleep 60";
    await using madrox = new Program("bash", ["-c", hold], { cwd });
    await madrox.untilStdout(/open/);
    await workspace.write("tailgate.yaml", config);
    await using gateway = startCli(["run"], { cwd });
    await gateway.untilStderr(/open for writing/);
    const named = `Process ${madrox.process.pid} (sleep 60) also has ${cwd}/logs/orchestrator.log open for writing`;
    expect(gateway.stderr).toContain(named);
    const shown = named.replace(/\d+ \(sleep 60\)/, "4711 (...)").replace(cwd, "...");
    expect(page.inlineCode).toContain(shown.replace("/logs/", "/"));
  });
});
