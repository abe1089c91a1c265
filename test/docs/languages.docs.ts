/** The guides for Go, Rust, Java and .NET: their programs run as shown, against a real gateway. */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { MAIN, Program, skipTest } from "../harness/program.ts";
import { Document, repositoryPath } from "./document.ts";

const guides = {
  go: await Document.read("docs/guides/go.md"),
  rust: await Document.read("docs/guides/rust.md"),
  java: await Document.read("docs/guides/java.md"),
  dotnet: await Document.read("docs/guides/dotnet.md"),
};

/** Where test/setup-docs/languages.sh notes what it has prepared. */
const CACHE = join(
  process.env["TAILGATE_CACHE"] ||
    join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "tailgate"),
  "languages",
);

/** Everything has been downloaded, and a test does not depend on a registry. */
const OFFLINE = {
  GOPROXY: "off",
  GOSUMDB: "off",
  CARGO_NET_OFFLINE: "true",
  CARGO_TARGET_DIR: join(CACHE, "rust"),
};

/** Each file that a guide shows in full: its example, its name in the reader's directory, and the original. */
const FILES = {
  go: [["go-main", "main.go", "examples/go/main.go"]],
  rust: [
    ["rust-manifest", "Cargo.toml", "examples/rust/Cargo.toml"],
    ["rust-main", "src/main.rs", "examples/rust/src/main.rs"],
  ],
  java: [
    ["java-pom", "pom.xml", "examples/java/pom.xml"],
    [
      "java-logback",
      "src/main/resources/logback.xml",
      "examples/java/src/main/resources/logback.xml",
    ],
    [
      "java-main",
      "src/main/java/com/example/Orchestrator.java",
      "examples/java/src/main/java/com/example/Orchestrator.java",
    ],
    ["java-agent-main", "Plain.java", "examples/java/agent/Plain.java"],
  ],
} as const;

type Language = keyof typeof FILES;

async function startGateway(): Promise<GatewayProcess> {
  const config = "receivers: { otlp: { port: 0, grpc_port: 0 } }\nexporters: { websocket: {} }\n";
  const gateway = await GatewayProcess.start(config);
  onTestFinished(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

/** The directory of a reader who has saved the guide's files. */
async function readerDirectory(language: Language): Promise<Workspace> {
  if (!existsSync(join(CACHE, `${language}.state`))) {
    skipTest(`The dependencies in ${language} are missing: npm run setup:docs`);
  }
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  for (const [example, name] of FILES[language]) {
    await workspace.write(name, guides[language].example(example));
  }
  return workspace;
}

/** Runs commands of a guide, with the gateway's ports in place of the default ones. */
async function runShown(
  script: string,
  { directory }: Workspace,
  gateway: GatewayProcess,
): Promise<void> {
  const text = script
    .replaceAll("http://127.0.0.1:4317", await gateway.endpoint("OTLP/gRPC"))
    .replaceAll("http://127.0.0.1:4318", await gateway.endpoint("OTLP/HTTP"))
    .replaceAll(/^mvn /gm, "mvn --offline ");
  await Program.run("bash", ["-ec", text], { cwd: directory, env: OFFLINE });
  if (script.includes("cargo")) {
    // Cargo would keep a program for each directory.
    const args = ["clean", "--package", "orchestrator"];
    await Program.run("cargo", args, { cwd: directory, env: OFFLINE });
  }
}

/** What differs between runs, and between releases of Java: times, and lines in Java's own sources. */
const CHANGING = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |(?<=at java\.base\/.*\.java:)\d+/gm;

/** Expects `tailgate tail` to print what the guide shows below the command. */
async function expectTailAsShown(
  guide: Document,
  command: string,
  gateway: GatewayProcess,
): Promise<void> {
  const args = guide.command(command).split(" ").slice(2);
  const printed = await Program.run(
    process.execPath,
    [MAIN, ...args, "--no-follow", "--url", gateway.websocketUrl],
    { cwd: "/" },
  );
  const listings = guide.listings.map((text) => text.replaceAll(CHANGING, ""));
  expect(listings).toContain(printed.replaceAll(CHANGING, ""));
}

test.each(Object.keys(FILES) as Language[])(
  "the guide for %s shows the files of the example",
  async (language) => {
    for (const [example, , path] of FILES[language]) {
      const original = await readFile(repositoryPath(path), "utf8");
      expect(guides[language].example(example)).toBe(original);
    }
  },
);

test("the Go program logs through slog", async () => {
  const workspace = await readerDirectory("go");
  const gateway = await startGateway();
  await runShown(guides.go.example("go-install"), workspace, gateway);
  const installed = await readFile(workspace.path("go.mod"), "utf8");
  const required = await readFile(repositoryPath("examples/go/go.mod"), "utf8");
  expect(versionsIn(installed)).toEqual(versionsIn(required));
  await runShown(guides.go.example("go-run"), workspace, gateway);
  await expectTailAsShown(guides.go, "npx tailgate tail --replay 4", gateway);
});

/** The modules and versions in a go.mod, whether they are required directly or not. */
function versionsIn(goMod: string): string[] {
  return Array.from(goMod.matchAll(/^\t(\S+ v\S+)/gm), ([, version]) => version!).toSorted();
}

test("the Rust program logs through tracing", async () => {
  const workspace = await readerDirectory("rust");
  await cp(repositoryPath("examples/rust/Cargo.lock"), workspace.path("Cargo.lock"));
  const gateway = await startGateway();
  await runShown(guides.rust.example("rust-run"), workspace, gateway);
  await expectTailAsShown(guides.rust, "npx tailgate tail --replay 4", gateway);
});

test("the Java program logs through Logback's appender", async () => {
  const workspace = await readerDirectory("java");
  const gateway = await startGateway();
  await runShown(guides.java.example("java-run"), workspace, gateway);
  await expectTailAsShown(guides.java, "npx tailgate tail --replay 4", gateway);
});

test("the Java agent sends the records of a program that knows nothing about it", async () => {
  const workspace = await readerDirectory("java");
  const gateway = await startGateway();
  await runShown(guides.java.example("java-agent-download"), workspace, gateway);
  await runShown(guides.java.example("java-agent-run"), workspace, gateway);
  await expectTailAsShown(guides.java, "npx tailgate tail --replay 2", gateway);
});

test.each([
  ["go", "examples-go"],
  ["rust", "examples-rust"],
  ["java", "examples-java"],
] as const)("the example in %s runs as its README says", async (language, example) => {
  const workspace = await readerDirectory(language);
  await cp(repositoryPath(`examples/${language}`), workspace.directory, { recursive: true });
  const readme = await Document.read(`examples/${language}/README.md`);
  const gateway = await startGateway();
  await runShown(readme.example(example), workspace, gateway);
  await expectTailAsShown(guides[language], "npx tailgate tail --replay 4", gateway);
});

test("the gateway's messages in the guides are those of its source", async () => {
  const sources = await Promise.all(
    [
      "plugins/otlp-receiver/grpc-server.ts",
      "plugins/otlp-receiver/forwarding.ts",
      "src/http/server/connections.ts",
    ].map((path) => readFile(repositoryPath(path), "utf8")),
  );
  const quoted = Object.values(guides).flatMap(({ inlineCode }) =>
    inlineCode.filter((code) => /^(?:The client|Tailgate) /.test(code)),
  );
  expect(quoted.length).toBeGreaterThan(7);
  expect(quoted.filter((text) => !sources.some((source) => source.includes(text)))).toEqual([]);
});

/** A category, a message and the name of an event, as the program in C# has them. */
interface DotnetRecord {
  readonly category: string;
  readonly severityNumber: number;
  readonly template: string;
  readonly value: string | number;
  readonly eventName?: string;
}

const DOTNET_RECORDS: readonly DotnetRecord[] = [
  {
    category: "orchestrator.instance_manager",
    severityNumber: 13,
    template: "High memory usage detected: {memory_mb} MB",
    value: 512,
  },
  {
    category: "orchestrator.audit",
    severityNumber: 9,
    template: "Instance {instance_id} spawned",
    value: "abc-123",
    eventName: "instance_spawn",
  },
];

/** Encodes a record as the OTLP exporter for .NET does. */
function dotnetScope({ category, template, value, eventName, ...record }: DotnetRecord): object {
  const placeholder = /\{(?<name>\w+)\}/;
  const typed = typeof value === "number" ? { intValue: value } : { stringValue: value };
  const attributes = [
    { key: placeholder.exec(template)!.groups!["name"], value: typed },
    { key: "{OriginalFormat}", value: { stringValue: template } },
  ];
  const body = { stringValue: template.replace(placeholder, `${value}`) };
  return { scope: { name: category }, logRecords: [{ ...record, body, attributes, eventName }] };
}

test("the records of the .NET exporter are shown as in the guide", async () => {
  const program = guides.dotnet.example("dotnet-program");
  for (const { category, template, value, eventName } of DOTNET_RECORDS) {
    expect(program).toContain(`CreateLogger("${category}")`);
    expect(program).toContain(`"${template}", ${JSON.stringify(value)})`);
    if (eventName !== undefined) expect(program).toContain(`new EventId(1, "${eventName}")`);
  }
  const gateway = await startGateway();
  const attributes = [{ key: "service.name", value: { stringValue: "orchestrator" } }];
  const scopeLogs = DOTNET_RECORDS.map(dotnetScope);
  const { status } = await fetch(`${await gateway.endpoint("OTLP/HTTP")}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceLogs: [{ resource: { attributes }, scopeLogs }] }),
  });
  expect(status).toBe(200);
  await expectTailAsShown(guides.dotnet, "npx tailgate tail --replay 2", gateway);
});

/** Needs NuGet, too. */
test.runIf(hasDotnet())("the .NET program logs through ILogger", async () => {
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  const gateway = await startGateway();
  await runShown(guides.dotnet.example("dotnet-install"), workspace, gateway);
  await workspace.write("orchestrator/Program.cs", guides.dotnet.example("dotnet-program"));
  const run = `cd orchestrator\n${guides.dotnet.example("dotnet-run")}`;
  await runShown(run, workspace, gateway);
  await expectTailAsShown(guides.dotnet, "npx tailgate tail --replay 2", gateway);
});

function hasDotnet(): boolean {
  try {
    execFileSync("dotnet", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
