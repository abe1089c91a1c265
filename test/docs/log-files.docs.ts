/** Follows files as docs/guides/log-files.md says: real programs write and rotate them, and the gateway is killed. */

import { execFile } from "node:child_process";
import { appendFileSync, closeSync, openSync, writeSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { expect, test, vi } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { requireInstalled } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

const POLL = { interval: 50, timeout: 15_000 };

function configFor(include: string): string {
  return `receivers: { filelog: { include: ["${include}"], start_at: beginning } }
exporters: { file: {}, audit-file: {} }
`;
}

/** Returns the messages that the gateway has written into its files, in their order. */
async function messages({ logDir }: GatewayProcess): Promise<string[]> {
  const text = await readFile(`${logDir}/orchestrator.log`, "utf8").catch(() => "");
  return messagesOf(text, "message");
}

async function auditMessages({ logDir }: GatewayProcess): Promise<string[]> {
  const names = await readdir(`${logDir}/audit`).catch(() => []);
  const files = names.filter((name) => /^audit_\d{8}\.jsonl$/.test(name)).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(`${logDir}/audit/${name}`, "utf8")));
  return messagesOf(texts.join(""), "event").filter((event) => /^\d/.test(event));
}

function messagesOf(text: string, key: string): string[] {
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as Record<string, string>)[key]!);
}

test.each(["create", "nocreate", "copytruncate"])(
  "logrotate with %s: no line is lost or repeated",
  async (mode) => {
    const logrotate = await requireInstalled("logrotate", "logrotate");
    await using workspace = await Workspace.create();
    const path = workspace.path("app.log");
    await workspace.write(
      "logrotate.conf",
      `${path} {\n  rotate 30\n  ${mode}\n  missingok\n  su root root\n}\n`.replace(
        "  su root root\n",
        process.getuid!() === 0 ? "  su root root\n" : "",
      ),
    );
    const rotate = (): Promise<unknown> =>
      promisify(execFile)(logrotate, [
        "--force",
        "--state",
        workspace.path("state"),
        workspace.path("logrotate.conf"),
      ]);
    await using gateway = await GatewayProcess.start(configFor(path));
    let lines = 0;
    let file = openSync(path, "a");
    const write = (count: number): void => {
      for (let index = 0; index < count; index++) writeSync(file, `line ${lines++}\n`);
    };
    const read = (): Promise<void> =>
      vi.waitFor(async () => {
        expect((await messages(gateway)).length).toBeGreaterThanOrEqual(lines);
      }, POLL);
    for (let round = 0; round < 12; round++) {
      write(100);
      // While the gateway is down, the file is rotated twice.
      if (round === 6) await gateway.stop();
      else if (round !== 7) await read();
      await rotate();
      // The program writes on into the renamed file until it opens the new one.
      if (mode !== "copytruncate") write(10);
      closeSync(file);
      file = openSync(path, "a");
      if (round === 7) await gateway.restart();
    }
    write(1);
    closeSync(file);
    await read();
    expect(await messages(gateway)).toEqual(
      Array.from({ length: lines }, (_, index) => `line ${index}`),
    );
  },
);

test("a hundred files, and kill -9: every line arrives, and each audit event once", async () => {
  await using workspace = await Workspace.create();
  const names = Array.from({ length: 100 }, (_, index) => `app-${index}.log`);
  const expected: string[] = [];
  const write = (round: number): void => {
    for (const name of names) {
      const message = `${round} ${name}`;
      expected.push(message);
      const event = JSON.stringify({ logger: "orchestrator.audit", event: message });
      appendFileSync(workspace.path(name), `${message}\n${event}\n`);
    }
  };
  write(0);
  await using gateway = await GatewayProcess.start(configFor(workspace.path("app-*.log")));
  for (let round = 1; round < 6; round++) {
    const before = (await messages(gateway)).length;
    write(round);
    // In the middle of it: some of the lines are stored, and their positions are not.
    await vi.waitFor(async () => {
      expect((await messages(gateway)).length).toBeGreaterThan(before);
    }, POLL);
    await gateway.kill();
    await gateway.restart();
  }
  await vi.waitFor(async () => {
    expect(new Set(await messages(gateway)).size).toBe(expected.length);
  }, POLL);
  await vi.waitFor(async () => {
    expect((await auditMessages(gateway)).toSorted()).toEqual(expected.toSorted());
  }, POLL);
});
