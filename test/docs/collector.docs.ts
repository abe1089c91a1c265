/** The exporter's configuration and dead-letter file, as in docs/integrations/collector.md. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { expect, onTestFinished, test, vi } from "vitest";
import { parse } from "yaml";
import { postMessages } from "../harness/otlp.ts";
import { MAIN, Program, requireProgram, startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/integrations/collector.md");

test("`tailgate validate` masks the credentials of the exporter", async () => {
  const config = page.example("config-otlp-exporter");
  await using workspace = await Workspace.create({ "tailgate.yaml": config });
  const env = { OTLP_TOKEN: "123456" };
  const shown = await Program.run(process.execPath, [MAIN, "validate"], {
    cwd: workspace.directory,
    env,
  });
  const { exporters } = parse(shown.slice(shown.indexOf("\n"))) as { exporters: object };
  expect(Object.keys(exporters)).toEqual(["websocket", "file", "audit-file", "console", "otlp"]);
  expect(exporters).toMatchObject({ otlp: { headers: { Authorization: "********" } } });
  expect(shown).not.toContain("123456");
});

interface LogsRequest {
  readonly resourceLogs: readonly {
    readonly scopeLogs: readonly {
      readonly logRecords: readonly { readonly body: { readonly stringValue: string } }[];
    }[];
  }[];
}

test("the records of the dead-letter file can be sent again", async () => {
  await requireProgram("jq", "jq", "setup:docs");
  const accepted: string[] = [];
  let status = 400;
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      const { resourceLogs } = body as LogsRequest;
      const records = resourceLogs
        .flatMap(({ scopeLogs }) => scopeLogs)
        .flatMap(({ logRecords }) => logRecords);
      if (status === 200) accepted.push(...records.map((record) => record.body.stringValue));
      return response.writeHead(status).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await using workspace = await Workspace.create({
    "tailgate.yaml": `{ port: 0, log_dir: logs, receivers: { otlp: { port: null } },
      exporters: { otlp: { endpoint: "${endpoint}", protocol: http/json } } }`,
  });
  await using gateway = startCli([], { cwd: workspace.directory });
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  expect(await postMessages(url!, ["first", "second"])).toBe(200);
  const path = workspace.path("logs/quarantine/otlp.jsonl");
  await vi.waitFor(async () => {
    expect((await readFile(path, "utf8")).split("\n")).toHaveLength(3);
  }, 30_000);

  status = 200;
  const script = page
    .example("resend-dead-letters")
    .replace("/tmp/madrox_logs/quarantine/otlp.jsonl", path)
    .replace("http://127.0.0.1:14318", endpoint);
  await Program.run("bash", ["-ec", script], { cwd: workspace.directory });
  expect(accepted).toEqual(["first", "second"]);
});
