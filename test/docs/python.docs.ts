/** Runs docs/guides/python.md and the files in examples/python with the real SDK, as a reader would. */

import { existsSync } from "node:fs";
import { cp, readFile, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Envelope } from "../harness/client.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { MAIN, Program, requirePython } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const EXAMPLES = repositoryPath("examples/python");

const page = await Document.read("docs/guides/python.md");

const CONFIG = "receivers: { otlp: { port: 0, grpc_port: 0 } }\nexporters: { websocket: {} }\n";

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(CONFIG);
});

afterAll(() => gateway[Symbol.asyncDispose]());

type Environment = Readonly<Record<string, string>>;

interface Result {
  readonly stdout: string;
  readonly stderr: string;
}

/** A reader's directory: the files of examples/python, and `.venv` with the packages. */
class Project {
  readonly #workspace: Workspace;
  readonly service: string;

  private constructor(workspace: Workspace, service: string) {
    this.#workspace = workspace;
    this.service = service;
  }

  /** `service` tells the records of this project from those of other tests. */
  static async create(service: string, files: Environment = {}): Promise<Project> {
    const python = await requirePython("loguru");
    const workspace = await Workspace.create();
    onTestFinished(() => workspace[Symbol.asyncDispose]());
    await cp(EXAMPLES, workspace.directory, { recursive: true });
    await symlink(dirname(dirname(python)), workspace.path(".venv"));
    for (const [name, text] of Object.entries(files)) await workspace.write(name, text);
    return new Project(workspace, service);
  }

  get directory(): string {
    return this.#workspace.directory;
  }

  /** Runs shell commands that must succeed. */
  async sh(script: string, env: Environment = {}): Promise<Result> {
    await using program = new Program("bash", ["-ec", script], {
      cwd: this.directory,
      env: {
        PYTHONDONTWRITEBYTECODE: "1",
        OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP"),
        OTEL_SERVICE_NAME: this.service,
        ...env,
      },
    });
    const end = await program.ended;
    if (end !== 0) throw new Error(`${script} ended with ${end}:\n${program.stderr}`);
    return { stdout: program.stdout, stderr: program.stderr };
  }

  /** Runs Python code after `stream_to_tailgate`. */
  async run(code: string, env: Environment = {}): Promise<Result> {
    await this.#workspace.write("main.py", `${PROLOGUE}${code}`);
    return this.sh(".venv/bin/python main.py", env);
  }

  /** The records of the project, oldest first. */
  async records(): Promise<Envelope[]> {
    const url = `${gateway.url}/api/logs?order=asc&limit=1000&q=service:${this.service}`;
    const { records } = (await (await fetch(url)).json()) as { records: Envelope[] };
    return records;
  }

  async messages(): Promise<string[]> {
    return (await this.records()).map(({ data }) => data.message);
  }
}

const PROLOGUE = `
import logging, multiprocessing, os, signal, sys, threading, time
import tailgate_logging
logging.basicConfig(level=logging.INFO)
handler = tailgate_logging.stream_to_tailgate("argument")
log = logging.getLogger("worker")
audit = logging.getLogger("orchestrator.audit")
`;

/** Where nothing listens. */
const NOWHERE = "http://127.0.0.1:9";

const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as string;

/** Where a file of the examples has the beginning of a call, counted from 1. */
async function lineOf(name: string, call: string): Promise<number> {
  const source = await readFile(join(EXAMPLES, name), "utf8");
  const index = source.split("\n").findIndex((line) => line.trim().startsWith(call));
  if (index < 0) throw new Error(`${name} has no ${call}`);
  return index + 1;
}

/** What app.py, structlog_app.py and loguru_app.py log. */
async function expectOrders(project: Project, name: string): Promise<void> {
  const system = { timestamp, logger: "worker.orders", module: name, function: "<module>" };
  const { service } = project;
  const [warning, error, auditEvent] = (await project.records()).filter(
    ({ data }) => data.message !== "Order 17 paid",
  );
  expect(warning!.data).toMatchObject({
    ...system,
    level: "WARNING",
    message: "High memory usage detected",
    line: await lineOf(`${name}.py`, name === "app" ? "logger.warning" : "log.warning"),
    memory_mb: 512,
  });
  expect(error!.data).toMatchObject({
    ...system,
    level: "ERROR",
    message: "Order failed",
    line: await lineOf(`${name}.py`, name === "app" ? "logger.exception" : "log.exception"),
    order_id: 17,
    "exception.type": "KeyError",
    "exception.message": "price",
    "exception.stacktrace": expect.stringMatching(/^Traceback [^]*KeyError: 'price'\n$/) as string,
  });
  expect(auditEvent).toMatchObject({
    type: "audit_log",
    data: {
      level: "INFO",
      logger: "orchestrator.audit",
      message: "order_canceled",
      action: "order_canceled",
      metadata: { order_id: 17, service },
    },
  });
}

describe("the first records", () => {
  test("the page installs the versions that the examples are tested with", async () => {
    const requirements = await readFile(join(EXAMPLES, "requirements.txt"), "utf8");
    const named = page.text.matchAll(/(?:opentelemetry[\w-]*|structlog|loguru)==[\w.]+/g);
    const versions = Array.from(named, ([version]) => version);
    expect(versions.length).toBeGreaterThan(6);
    expect(page.example("python-install")).toContain(versions[0]);
    for (const version of versions) expect(requirements).toContain(`${version}\n`);
  });

  test("app.py arrives, and is shown as the page says", async () => {
    const own = await GatewayProcess.start(CONFIG);
    onTestFinished(() => own[Symbol.asyncDispose]());
    const project = await Project.create("worker", { "app.py": page.example("python-app") });
    const script = page.example("python-run").replace("http://127.0.0.1:8001", own.url);
    const endpoint = await own.endpoint("OTLP/HTTP");
    const environment = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SERVICE_NAME: "" };
    const { stdout } = await project.sh(`unset OTEL_SERVICE_NAME\n${script}`, environment);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as Envelope).data.message)).toEqual([
      "High memory usage detected",
      "Order failed",
      "order_canceled",
    ]);

    const tail = page.command("npx tailgate tail --replay 10").replace("npx tailgate", "");
    const command = `exec node ${MAIN} ${tail} --no-follow --url ${own.websocketUrl}`;
    const shown = (await project.sh(command)).stdout;
    // Python 3.10 does not mark the place within the line.
    const withoutMarks = shown
      .replaceAll(/^ +[~^]+\n/gm, "")
      .replace(project.directory, "/home/me");
    const normalized = (text: string): string => text.replaceAll(/^\d\S+ \S+/gm, "TIME");
    expect(page.listings.map(normalized)).toContain(normalized(withoutMarks));
  });

  test("app.py is the file in examples/python", async () => {
    expect(page.example("python-app")).toBe(await readFile(join(EXAMPLES, "app.py"), "utf8"));
    const project = await Project.create("app");
    await project.sh(".venv/bin/python app.py");
    await expectOrders(project, "app");
  });

  test("over gRPC", async () => {
    const project = await Project.create("app-grpc");
    const grpc = await gateway.endpoint("OTLP/gRPC");
    await project.sh(page.example("python-grpc").replace("http://127.0.0.1:4317", grpc));
    await expectOrders(project, "app");
  });
});

describe("an orchestrator with handlers of its own", () => {
  const program = async (service: string): Promise<object[]> => {
    const systemLog = async (call: string, data: object): Promise<object> => ({
      type: "system_log",
      data: {
        timestamp,
        logger: "orchestrator.instance_manager",
        module: "instance_manager",
        line: await lineOf("instance_manager.py", call),
        ...data,
        service,
      },
    });
    const auditLog = (action: string, metadata: object): object => ({
      type: "audit_log",
      data: {
        timestamp,
        level: "INFO",
        logger: "orchestrator.audit",
        message: action,
        action,
        metadata: { instance_id: "abc-123", ...metadata, service },
      },
    });
    return [
      await systemLog('logger.info("Instance %s', {
        level: "INFO",
        message: "Instance abc-123 spawned successfully",
        function: "spawn_instance",
        instance_id: "abc-123",
      }),
      auditLog("instance_spawn", {
        details: { role: "general", model: null, enable_madrox: true },
      }),
      await systemLog('get_instance_logger(instance_id, "worker").info', {
        level: "INFO",
        logger: "instance.abc-123",
        message: "Communication: inbound reply",
        function: "receive_message",
        event_type: "communication",
        direction: "inbound",
        content: "{",
        instance_id: "abc-123",
        instance_name: "worker",
      }),
      await systemLog('logger.warning("High memory', {
        level: "WARNING",
        message: "High memory usage detected",
        function: "receive_message",
        memory_mb: 512,
      }),
      await systemLog('logger.error("The message', {
        level: "ERROR",
        message: "The message is not JSON",
        function: "receive_message",
        instance_id: "abc-123",
        "exception.type": "JSONDecodeError",
        "exception.message": expect.stringMatching(/^Expecting property name/) as string,
        "exception.stacktrace": expect.stringMatching(
          /^Traceback [^]*instance_manager\.py[^]*\njson\.decoder\.JSONDecodeError: .*\n$/,
        ) as string,
      }),
      auditLog("instance_terminate", {
        details: { force: false, total_cost: 0.05 },
        final_state: "terminated",
      }),
    ];
  };

  const withoutSequence = (records: Envelope[]): object[] =>
    records.map(({ type, data }) => ({ type, data }));

  const isOfInstance = (record: object): boolean =>
    (record as Envelope).data.logger.startsWith("instance.");

  test("sends system logs, audit events and the loggers of instances", async () => {
    const project = await Project.create("orchestrator");
    await project.sh("unset OTEL_SERVICE_NAME; .venv/bin/python orchestrator.py");
    expect(withoutSequence(await project.records())).toEqual(await program("orchestrator"));
  });

  test("can leave out the loggers of instances", async () => {
    const project = await Project.create("no-instances");
    expect(page.text.replaceAll("\n", " ")).toContain(
      '`stream_to_tailgate("orchestrator", "orchestrator")`',
    );
    const change = 's/stream_to_tailgate("orchestrator")/stream_to_tailgate("o", "orchestrator")/';
    await project.sh(`sed -i '${change}' orchestrator.py; .venv/bin/python orchestrator.py`);
    const expected = (await program("no-instances")).filter((record) => !isOfInstance(record));
    expect(withoutSequence(await project.records())).toEqual(expected);
  });

  test("sends each event once if its loggers propagate", async () => {
    const project = await Project.create("propagating");
    await project.run("import instance_manager; instance_manager.work()");
    expect(withoutSequence(await project.records())).toEqual(await program("propagating"));
  });

  test("opentelemetry-instrument sends what reaches the root logger", async () => {
    const project = await Project.create("instrumented");
    const [install, ...script] = page.example("python-instrumented").split("\n");
    expect(install).toContain("pip install opentelemetry-distro==");
    const shown = script.join("\n").replace("=orchestrator\n", "=instrumented\n");
    await project.sh(shown);
    const expected = (await program("instrumented")).filter((record) => !isOfInstance(record));
    expect(withoutSequence(await project.records())).toEqual(expected);
  });
});

describe("other libraries", () => {
  test.each([
    ["structlog", "python-structlog"],
    ["loguru", "python-loguru"],
  ])("%s", async (library, example) => {
    const name = `${library}_app`;
    const source = await readFile(join(EXAMPLES, `${name}.py`), "utf8");
    expect(source).toContain(page.example(example));
    const project = await Project.create(library);
    await project.sh(`.venv/bin/python ${name}.py`);
    await expectOrders(project, name);
    const bound = (await project.records()).filter(({ type }) => type === "system_log");
    expect(bound.map(({ data }) => data["order_id"])).toEqual(bound.map(() => 17));
    if (library === "loguru") expect(await project.messages()).toContain("Order 17 paid");
  });
});

test("structlog keeps keys that `logging` reserves, and formats arguments", async () => {
  const app = await readFile(join(EXAMPLES, "structlog_app.py"), "utf8");
  const code = `${app}
log.info("Hello %s", "world", name="bob", module="mine", msg="text", key=1)
`;
  const project = await Project.create("keys", { "main.py": code });
  await project.sh(".venv/bin/python main.py");
  expect((await project.records()).at(-1)!.data).toMatchObject({
    message: "Hello world",
    module: "main",
    extra_name: "bob",
    extra_module: "mine",
    extra_msg: "text",
    key: 1,
  });
});

test("uncaught exceptions of the main thread and of others are sent", async () => {
  const project = await Project.create("uncaught");
  const code = `${page.example("python-uncaught")}
def work():
    raise ValueError("in a thread")

thread = threading.Thread(target=work)
thread.start()
thread.join()
raise RuntimeError("in the main thread")
`;
  await expect(project.run(code)).rejects.toThrow("ended with 1");
  const records = await project.records();
  expect(records.map(({ data }) => [data.level, data["exception.message"]])).toEqual([
    ["CRITICAL", "in a thread"],
    ["CRITICAL", "in the main thread"],
  ]);
});

test("an audit event needs the level INFO", async () => {
  const [, call] = /`(logging\.getLogger\("orchestrator\.audit"\)\.setLevel[^`]+)`/.exec(
    page.text,
  )!;
  const code = `
import logging
from tailgate_logging import stream_to_tailgate
stream_to_tailgate("worker")
logging.getLogger("orchestrator.audit").info("discarded")
${call}
logging.getLogger("orchestrator.audit").info("sent")
`;
  const project = await Project.create("level", { "main.py": code });
  await project.sh(".venv/bin/python main.py");
  expect(await project.messages()).toEqual(["sent"]);
});

test("a restart of the gateway loses nothing", async () => {
  const own = await GatewayProcess.start(CONFIG);
  onTestFinished(() => own[Symbol.asyncDispose]());
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await own.endpoint("OTLP/HTTP") };
  await own.stop();
  const project = await Project.create("restart");
  const code = `
class Seen(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("Transient error"):
            open("failed", "w").close()

logging.getLogger("opentelemetry").addHandler(Seen())
for number in range(3):
    log.info("%d", number)
handler.force_flush()
`;
  const ended = project.run(code, env);
  await expect
    .poll(() => existsSync(join(project.directory, "failed")), { timeout: 30_000 })
    .toBe(true);
  await own.restart();
  const { stderr } = await ended;
  expect(stderr).toMatch(/Transient error.*retrying/);
  const answer = await fetch(`${own.url}/api/logs?order=asc&q=service:restart`);
  const { records } = (await answer.json()) as { records: Envelope[] };
  expect(records.map(({ data }) => data.message)).toEqual(["0", "1", "2"]);
});

test("durable_audit.py stores an event once, and reports a missing gateway", async () => {
  const code = page.example("python-durable-audit");
  const source = await readFile(join(EXAMPLES, "durable_audit.py"), "utf8");
  for (const line of code.trimEnd().split("\n").slice(2)) expect(source).toContain(line);
  const project = await Project.create("durable", { "main.py": code });
  const { stdout } = await project.sh(".venv/bin/python main.py");
  const [, uid] = /^Stored with the key (\S+)\n$/.exec(stdout)!;
  const metadata = { order_id: 17, details: { reason: "no price" }, "log.record.uid": uid };
  expect(await project.records()).toMatchObject([{ type: "audit_log", data: { metadata } }]);
  const failed = project.sh("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9 python3 main.py");
  await expect(failed).rejects.toThrow(/URLError/);
});

describe("the tables of the page", () => {
  test("names in extra", async () => {
    const project = await Project.create("names");
    const renamed = ["timestamp", "level", "logger", "function", "line", "id", "type"];
    const code = `
mine = dict.fromkeys(${JSON.stringify([...renamed, "event.name"])}, "mine")
log.info("system", extra=mine)
audit.info("audit", extra={**mine, "event_type": "spoof"})
try:
    log.info("refused", extra={"module": "mine"})
except KeyError as error:
    log.info(f"KeyError: {error}")
log.info("values", extra={"none": None, "bytes": b"\\xff", "list": [1, {"a": 2.5}], "path": __import__("pathlib").Path("/x"), "big": 2**70})
logging.getLogger("worker").log(25, "level 25")
`;
    await project.run(code);
    const [system, auditEvent, refused, values, level] = await project.records();
    expect(page.text).toContain(`| ${renamed.map((name) => `\`${name}\``).join(", ")} `);
    const extras = Object.fromEntries(renamed.map((name) => [`extra_${name}`, "mine"]));
    expect(system!.data).toMatchObject({ ...extras, event_name: "mine", message: "system" });
    const metadata = Object.fromEntries(renamed.map((name) => [name, "mine"]));
    expect(auditEvent!.data).toMatchObject({ action: "spoof", metadata });
    expect(refused!.data.message).toMatch(/KeyError: .*Attempt to overwrite 'module'/);
    expect(values!.data).toMatchObject({
      none: null,
      bytes: "/w==",
      list: [1, { a: 2.5 }],
      path: "/x",
    });
    expect(values!.data).not.toHaveProperty("big");
    expect(level!.data.level).toBe("INFO");
  });

  test("service name and trace context", async () => {
    const project = await Project.create("named");
    const code = `
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
with trace.get_tracer("t").start_as_current_span("spawn") as span:
    log.info("in a span")
    print(format(span.get_span_context().trace_id, "032x"))
`;
    const { stdout } = await project.run(code);
    const [record] = await project.records();
    expect(record!.data).toMatchObject({ trace_id: stdout.trim(), service: "named" });
    await project.run('log.info("attributes")', {
      OTEL_SERVICE_NAME: "",
      OTEL_RESOURCE_ATTRIBUTES: "service.name=named",
    });
    expect(await project.messages()).toEqual(["in a span", "attributes"]);
    await project.run('log.info("disabled")', { OTEL_SDK_DISABLED: "true" });
    expect(await project.messages()).toHaveLength(2);
  });

  test("logging calls neither raise nor lose others", async () => {
    const project = await Project.create("safe");
    const { stderr } = await project.run('log.info("%d", "x")\nlog.info("file \\udcff")');
    expect(stderr).toContain("TypeError: %d format");
    expect(await project.messages()).toEqual(["file \\udcff"]);
  });

  test("what the HTTP client logs is not sent", async () => {
    const project = await Project.create("quiet");
    const code = `
logging.getLogger().setLevel(logging.DEBUG)
log.info("first")
handler.force_flush()
log.info("last")
`;
    const { stderr } = await project.run(code);
    expect(stderr).toContain("DEBUG:urllib3.connectionpool:");
    expect(await project.messages()).toEqual(["first", "last"]);
  });

  test.each([
    ["an exception", 'raise RuntimeError("end")'],
    ["Ctrl-C", "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"],
    [
      "SIGTERM with the handler of the page",
      `${/`(signal\.signal[^`]+)`/.exec(page.text)![1]}; os.kill(os.getpid(), signal.SIGTERM)`,
    ],
  ])("the end by %s loses nothing", async (end, code) => {
    const project = await Project.create("end");
    await project.run(`log.info(${JSON.stringify(end)})\n${code}`).catch(() => {});
    expect(await project.messages()).toContain(end);
  });

  test("children that fork send what they log, on connections of their own", async () => {
    const project = await Project.create("children");
    const code = `
def work():
    log.info("multiprocessing")
    handler.force_flush()

log.info("parent")
handler.force_flush()
children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(2)]
for child in children:
    child.start()
for child in children:
    child.join()
for _ in range(2):
    if os.fork() == 0:
        for number in range(20):
            log.info("fork %d", number)
            handler.force_flush()
        sys.exit()
for _ in range(2):
    os.wait()
`;
    const { stderr } = await project.run(code);
    expect(stderr).not.toContain("opentelemetry");
    const forks = Array.from({ length: 20 }, (_, number) => `fork ${number}`);
    const expected = ["parent", "multiprocessing", "multiprocessing", ...forks, ...forks];
    expect((await project.messages()).toSorted()).toEqual(expected.toSorted());
  });

  test("a full queue is reported", async () => {
    const project = await Project.create("full");
    const code = `
tailgate_logging.AT_EXIT_SECONDS_MAX = 0.1
for number in range(2000):
    log.info("%d", number)
`;
    const env = { OTEL_BLRP_MAX_QUEUE_SIZE: "512", OTEL_EXPORTER_OTLP_ENDPOINT: NOWHERE };
    const { stderr } = await project.run(code, env);
    expect(page.text).toContain("`Queue full, dropping Log.`");
    expect(stderr).toContain("Queue full, dropping Log.");
  });

  test.each<[string, () => Promise<Environment> | Environment]>([
    ["Connection refused", () => ({ OTEL_EXPORTER_OTLP_ENDPOINT: NOWHERE })],
    [
      "BadStatusLine",
      async () => ({ OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/gRPC") }),
    ],
    ["Trying to connect an http1.x server", () => ({ OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" })],
    [
      "WRONG_VERSION_NUMBER",
      async () => ({
        OTEL_EXPORTER_OTLP_ENDPOINT: (await gateway.endpoint("OTLP/HTTP")).replace("http", "https"),
      }),
    ],
    [
      "code: 404",
      async () => ({ OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: await gateway.endpoint("OTLP/HTTP") }),
    ],
    ["ProxyError", () => ({ http_proxy: NOWHERE })],
    ["Shutdown in progress", () => ({ OTEL_EXPORTER_OTLP_ENDPOINT: NOWHERE })],
  ])("the message %s", async (message, environment) => {
    const project = await Project.create("lost");
    const code = `
class Seen(logging.Handler):
    event = threading.Event()
    def emit(self, record):
        if record.name.startswith("opentelemetry."):
            self.event.set()

logging.getLogger().addHandler(Seen())
tailgate_logging.AT_EXIT_SECONDS_MAX = 0
log.info("lost")
Seen.event.wait()
`;
    const { stderr } = await project.run(code, await environment());
    expect(page.text).toContain(`\`${message}\``);
    expect(stderr).toContain(message);
  });

  test("a proxy is bypassed with NO_PROXY", async () => {
    const project = await Project.create("bypassed");
    const [, name, value] = /`(NO_PROXY)=([^`]+)`/.exec(page.text)!;
    await project.run('log.info("bypassed")', { http_proxy: NOWHERE, [name!]: value! });
    expect(await project.messages()).toEqual(["bypassed"]);
  });
});

test("the README of the examples runs one of them", async () => {
  const readme = await Document.read("examples/python/README.md");
  const [create, install, run] = readme.example("python-examples").trimEnd().split("\n");
  expect([create, install]).toEqual([
    "python3 -m venv .venv",
    ".venv/bin/pip install -r requirements.txt",
  ]);
  const project = await Project.create("examples");
  await project.sh(run!);
  expect(await project.records()).toHaveLength(6);
});
