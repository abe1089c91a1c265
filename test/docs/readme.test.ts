/** Runs the README's examples verbatim against the built gateway, except for ports. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { Document, repositoryPath } from "./document.ts";
import { DefaultGateway } from "./user-directory.ts";

const readme = await Document.read("README.md");

const LINES_MAX = 250;

let gateway: DefaultGateway;

/** As `npm start` runs, except for the ports and the log directory. */
beforeAll(async () => {
  gateway = await DefaultGateway.start(["--log-dir", "logs"]);
});

afterAll(() => gateway[Symbol.asyncDispose]());

test(`the README has at most ${LINES_MAX} lines`, () => {
  expect(readme.text.split("\n").length - 1).toBeLessThanOrEqual(LINES_MAX);
});

test("the gateway prints at startup what the README shows", async () => {
  await gateway.program.untilStderr(/trust_default_origins/);
  const printed = gateway.printed.replace("/home/you/tailgate/logs", "/tmp/madrox_logs");
  expect(printed.slice(0, readme.listings[0]!.length)).toBe(readme.listings[0]);
});

describe("a record sent with curl", () => {
  test("is acknowledged", async () => {
    expect(await gateway.run(readme.example("curl"))).toBe("{}");
  });

  test("is shown by `tailgate tail`", async () => {
    const live = readme.command("npx tailgate tail --level WARNING logger:orchestrator memory");
    const past = readme.command("npx tailgate tail --since 2h --no-follow");
    const pattern =
      / - orchestrator\.server - WARNING - High memory usage detected memory_mb=512$/m;
    expect(await gateway.run(past)).toMatch(pattern);
    expect(await gateway.run(`${live} --since 2h --no-follow`)).toMatch(pattern);
  });

  test("is in /api/logs and in the file", async () => {
    const command = "curl 'http://127.0.0.1:8001/api/logs?type=system&level=WARNING'";
    const { records } = JSON.parse(await gateway.run(readme.command(command))) as {
      records: object[];
    };
    expect(records).toMatchObject([{ type: "system_log", data: { memory_mb: 512 } }]);
    const file = gateway.workspace.path("logs/orchestrator.log");
    await expect.poll(() => readFile(file, "utf8")).toContain('"memory_mb":512');
  });

  test("is received by the client", async () => {
    const source = readme.example("readme-client").replace("http://localhost:8001", gateway.main);
    await gateway.workspace.write("client.js", source);
    await using client = new Program(process.execPath, ["client.js"], {
      cwd: gateway.workspace.directory,
    });
    await client.untilStdout(/^High memory usage detected$/m);
  });
});

test("the envelope is what the gateway makes of such a record", async () => {
  const shown = readme.example("readme-envelope").trim();
  const response = await fetch(`${gateway.otlp}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(SHOWN_RECORD),
  });
  expect(response.status).toBe(200);
  const lines = await gateway.run(
    "curl -s 'http://127.0.0.1:8001/api/logs?format=ndjson&q=spawn_instance'",
  );
  expect(lines.replace(/"sequence":\d+,/, "").trim()).toBe(shown);
});

const SHOWN_RECORD = {
  resourceLogs: [
    {
      scopeLogs: [
        {
          scope: { name: "orchestrator.server" },
          logRecords: [
            {
              timeUnixNano: "1760347644339163000",
              severityText: "WARNING",
              body: { stringValue: "High memory usage detected" },
              attributes: [
                { key: "code.file.path", value: { stringValue: "server.py" } },
                { key: "code.function.name", value: { stringValue: "spawn_instance" } },
                { key: "code.line.number", value: { intValue: "142" } },
                { key: "memory_mb", value: { intValue: "512" } },
              ],
            },
          ],
        },
      ],
    },
  ],
};

test("a program contains the gateway, and gets a receipt for its audit event", async () => {
  const source = `
    ${readme.example("readme-in-process")}
    ${readme.example("readme-audit")}
    console.log(seq, hash);
    await logging.stop();
  `;
  await gateway.workspace.write("in-process/program.js", source);
  const env = { ORCHESTRATOR_PORT: "0" };
  const cwd = gateway.workspace.path("in-process");
  const shown = await Program.run(process.execPath, ["program.js"], { cwd, env });
  expect(shown).toMatch(/^2 [0-9a-f]{64}\n$/);
});

test("what the README shows of the guides stands there", async () => {
  const python = await Document.read("docs/guides/python.md");
  for (const line of linesOf(readme.example("readme-python"))) {
    expect(linesOf(python.example("python-app"))).toContain(line);
  }
  const node = await Document.read("docs/guides/node.md");
  expect(node.example("node-run-pino")).toContain(readme.example("readme-pino").trim());
  const winston = await readFile(repositoryPath("examples/node/winston.mjs"), "utf8");
  expect(winston).toContain(readme.example("readme-winston").trim());
  const others = await Promise.all(
    ["java", "dotnet"].map((language) => Document.read(`docs/guides/${language}.md`)),
  );
  const guides = [python, node, ...others].map(({ text }) => text).join("\n");
  const variables = readme.example("readme-environment").matchAll(/^export (\w+)=/gm);
  for (const [, name] of variables) expect(guides).toContain(name);
});

function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

test("CI does what the README, CONTRIBUTING and the benchmark's page ask for", async () => {
  const script = await readFile(repositoryPath(".ci/run"), "utf8");
  const contributing = await Document.read("CONTRIBUTING.md");
  const commands = contributing.example("contributing-checks").match(/^npm [\w ]+?(?=\s+#)/gm);
  const benchmarks = await Document.read("docs/benchmarks.md");
  const [, bench] = linesOf(benchmarks.example("bench-run"));
  const start = readme.example("readme-start").trim().split(" && ");
  expect(commands).toEqual(["npm ci", "npm test", "npm run check"]);
  for (const command of [...commands!, ...start, `${bench!} -- --quick --compare`]) {
    expect(script).toContain(command);
  }
});
