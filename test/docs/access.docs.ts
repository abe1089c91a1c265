/** Runs the examples of docs/access.md with a gateway. */

import { chmod, readFile } from "node:fs/promises";
import { expect, onTestFinished, test } from "vitest";
import { MAIN, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";
import { startGateway } from "./user-directory.ts";

const page = await Document.read("docs/access.md");

const CONFIG = "auth: {}\nreceivers: { otlp: { port: 0, grpc_port: null } }\n";

test("tokens are created, used and revoked as shown", async () => {
  const workspace = await Workspace.create({
    "tailgate.yaml": CONFIG,
    "bin/tailgate": `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`,
  });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await chmod(workspace.path("bin/tailgate"), 0o755);
  const env = {
    PATH: `${workspace.path("bin")}:${process.env["PATH"]}`,
    XDG_CONFIG_HOME: workspace.path("config"),
  };
  const bash = async (script: string): Promise<string> =>
    Program.run("bash", ["-ec", script], { cwd: workspace.directory, env });

  const shown = await bash(`${page.example("token-create")}\necho "$TOKEN" > ci.token`);
  expect(withoutIds(shown)).toBe(withoutIds(page.listings[0]!));
  const { url } = await startGateway(workspace, "0", env);
  const use = page.example("token-use").replaceAll("http://127.0.0.1:8001", url);
  const [ingested, read] = (await bash(`TOKEN=$(cat ci.token)\n${use}`)).split(/(?<=^\{\})/);
  expect(ingested).toBe("{}");
  expect(JSON.parse(read!)).toMatchObject({ records: [] });
  const listed = await bash(page.example("token-revoke"));
  expect(JSON.parse(listed)).toMatchObject([
    { name: "ci", state: "valid" },
    { name: "grafana", state: "valid" },
    { name: "support", state: "revoked" },
  ]);
  expect(await readFile(workspace.path("support.token"), "utf8")).toMatch(/^tgw_/);
});

/** Replaces what differs each time: ids and days. */
function withoutIds(table: string): string {
  return table.replaceAll(/[0-9a-f]{12}/g, "ID").replaceAll(/\d{4}-\d\d-\d\d/g, "DAY");
}
