/** Takes the tour of the getting-started page, step by step, on free ports. */

import { readFile, stat } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { DefaultGateway } from "./user-directory.ts";

const tour = await Document.read("docs/getting-started.md");

let gateway: DefaultGateway;

/** The steps build on each other. */
beforeAll(async () => {
  const [, options] = /^npm ci && npm start -- (.*)$/m.exec(tour.example("tour-start"))!;
  gateway = await DefaultGateway.start(options!.split(" "));
});

afterAll(() => gateway[Symbol.asyncDispose]());

function run(name: string): Promise<string> {
  return gateway.run(tour.example(name));
}

test("the gateway prints what the page shows", () => {
  expect(gateway.printed).toContain(tour.listings[0]);
});

test("the records arrive in the terminal, the API and the files", async () => {
  expect(await run("tour-send")).toBe("{}");
  expect(await run("tour-audit")).toBe("{}");
  const script = `exec ${gateway.withPorts(tour.example("tour-tail"))}`;
  const { environment: env, workspace } = gateway;
  await using tail = new Program("bash", ["-c", script], { cwd: workspace.directory, env });
  await tail.untilStdout(/AUDIT.*\n/);
  expect(withoutTimes(tail.stdout)).toBe(withoutTimes(tour.listings[1]!));
  expect(await run("tour-api")).toContain('"message":"High memory usage detected"');
  // Files follow the journal; the line of the audit event is written last.
  await expect.poll(() => run("tour-files").catch(() => "")).toContain('"event":"instance_spawn"');
  expect(await run("tour-files")).toContain('"memory_mb":512');
});

function withoutTimes(text: string): string {
  return text.replaceAll(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/gm, "TIME");
}

test("the audit trail is intact, and a change is found", async () => {
  expect(await gateway.program.end()).toBe(0);
  const verified = await run("tour-verify");
  expect(tour.command("The audit trail is intact.")).toBe(verified.trimEnd().split("\n").at(-1));
  const [file] = (
    await Program.run("bash", ["-c", "ls logs/audit/audit_*.jsonl"], {
      cwd: gateway.workspace.directory,
    })
  ).split("\n");
  const text = await readFile(gateway.workspace.path(file!), "utf8");
  await gateway.workspace.write(file!, text.replace("abc-123", "abc-124"));
  await expect(run("tour-verify")).rejects.toThrow(/AUDIT_TRAIL_BROKEN.*audit_\d+\.jsonl:1\b/s);
});

test("other ports are chosen as the page says", async () => {
  const [, ...words] = tour.example("tour-ports").trim().split(" ");
  const args = [repositoryPath("dist/cli/main.js"), ...words.slice(1), "--port", "0"];
  const [, port] = /--otlp-port (\d+)/.exec(tour.example("tour-ports"))!;
  expect(tour.example("tour-endpoint")).toContain(`http://127.0.0.1:${port}`);
  await using other = await Workspace.create();
  await using program = new Program(process.execPath, args, { cwd: other.directory });
  await program.untilStderr(new RegExp(`listening on http://127\\.0\\.0\\.1:${port}/v1/logs`));
  expect(await program.end()).toBe(0);
});

test("npx in the clone runs what is built", async () => {
  const cwd = repositoryPath(".");
  const built = await stat(repositoryPath("dist/cli/main.js"));
  const env = { npm_config_cache: gateway.workspace.path("npm-cache") };
  expect(await Program.run("npx", ["tailgate", "--version"], { cwd, env })).toMatch(
    /^\d+\.\d+\.\d+\n$/,
  );
  expect((await stat(repositoryPath("dist/cli/main.js"))).mtime).toEqual(built.mtime);
});

test("the package has the name that the page installs, and the demo is a script", async () => {
  const manifest = JSON.parse(await readFile(repositoryPath("package.json"), "utf8")) as {
    version: string;
    scripts: Record<string, string>;
  };
  // `npm pack` and the installation run in test/package.
  expect(tour.example("tour-pack")).toBe("npm pack\n");
  expect(tour.example("tour-install")).toContain(`./tailgate-${manifest.version}.tgz`);
  const [, script] = /^npm run (\w+)\n$/.exec(tour.example("tour-demo"))!;
  // The demo itself runs in test/demo.
  expect(manifest.scripts).toHaveProperty(script!);
});

test("the dashboard has the buttons and keys that the pages name", async () => {
  const page = await Document.read("docs/dashboard.md");
  const texts = await readFile(repositoryPath("src/dashboard/texts.ts"), "utf8");
  const labels = [...page.text.matchAll(/(?<!\*)\*([A-Z][^*\n]+?)(?: \.\.\.)?\*(?!\*)/g)];
  const names = labels.map(([, label]) => label!.replace(/ (?:instance|trace)$/, ""));
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => !texts.includes(name) && !LEVELS.has(name))).toEqual([]);
  const rows = [...page.text.matchAll(/^\| ((?:`[^`]+`(?:, )?)+) +\| .* \|$/gm)];
  const keys = rows.flatMap(([, cell]) => [...cell!.matchAll(/`([^`]+)`/g)].map(([, key]) => key));
  const [, shortcuts] = /shortcuts: \[\n([^]*?)\n {4}\],/.exec(texts)!;
  const bound = [...shortcuts!.matchAll(/keys: \[([^\n]+)\], action/g)];
  expect(keys).toEqual(bound.flatMap(([, list]) => JSON.parse(`[${list}]`) as string[]));
});

const LEVELS = new Set(["DEBUG", "INFO", "WARNING"]);
