/** Runs what docs/operations/reload.md shows. */

import { expect, test } from "vitest";
import { MAIN, Program, runCli, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/operations/reload.md");

const READY = /listening on (http:\/\/\S+) \(dashboard/;

test("a changed file is applied, and a rejected one shows in /readyz", async () => {
  const config =
    "port: 0\nlog_dir: logs\nreceivers: {}\nexporters: { file: { max_bytes: 10485760 } }\n";
  await using workspace = await Workspace.create({ "tailgate.yaml": config });
  const cwd = workspace.directory;
  await using gateway = startCli([], { cwd });
  const [, url] = await gateway.untilStderr(READY);
  const args = page.example("reload").trim().replace("npx tailgate ", "").split(" ");
  await workspace.write("tailgate.yaml", config.replace("10485760", "1048576"));
  expect((await runCli(args, { cwd })).stdout).toBe(page.example("reload-output"));

  await workspace.write("tailgate.yaml", config.replace("max_bytes", "max_bites"));
  expect(await (await runCli(args, { cwd })).ended).toBe(78);
  const shown = await (await fetch(`${url}/readyz`)).text();
  expect(shown.startsWith(page.example("reload-readyz").replace(/ \.\.\.\n$/, ""))).toBe(true);
});

/** Starts a gateway whose output is a terminal, closes the terminal, and prints how the gateway has ended. */
const IN_TERMINAL = `
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
shown = b""
while b"(dashboard" not in shown:
    shown += os.read(terminal, 4096)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
`;

test("a gateway in a terminal ends when the terminal is closed", async () => {
  await using workspace = await Workspace.create();
  const flags = ["--port", "0", "--otlp-port", "0", "--log-dir", "logs"];
  const args = ["-c", IN_TERMINAL, process.execPath, MAIN, ...flags];
  const ended = await Program.run("python3", args, { cwd: workspace.directory });
  expect(ended).toBe("0\n");
});
