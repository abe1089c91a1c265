/** A disk that fails to sync the lines of orchestrator.log. */

import { readFile } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { postMessages } from "../harness/otlp.ts";
import { requireProgram } from "../harness/program.ts";
import { CrashSite, urlOf } from "../harness/crash-site.ts";

/** Sends records until the gateway has had to sync the file, which it does on its own schedule. */
async function logUntil(isDone: () => boolean, url: string): Promise<string[]> {
  const sent: string[] = [];
  await vi.waitFor(
    async () => {
      const message = `message ${sent.length}`;
      expect(await postMessages(url, [message])).toBe(200);
      sent.push(message);
      expect(isDone()).toBe(true);
    },
    { timeout: 20_000, interval: 100 },
  );
  return sent;
}

test.each([
  ["once: they are written again, and synced", "1", / - WARNING - .*written again and synced\./],
  [
    "again: it is told which may be missing",
    "1..2",
    / - ERROR - .* 1 to \d+: after a power failure they may be missing/,
  ],
])("%s", async (_, when, expected) => {
  await requireProgram("strace", "strace");
  await using site = await CrashSite.create();
  const path = `${site.logDir}/orchestrator.log`;
  const calls = site.workspace.path("calls.txt");
  // strace counts per thread, so run a single file thread.
  const through = [
    ...[
      "env",
      "UV_THREADPOOL_SIZE=1",
      "strace",
      "-D",
      "-f",
      "--seccomp-bpf",
      "-qq",
      "-o",
      calls,
      "-P",
      path,
    ],
    ...["-e", "trace=pwrite64,fdatasync", "-e", `inject=fdatasync:error=EIO:when=${when}`],
  ];
  const gateway = await site.start({ through, config: "exporters: { file: {} }\n" });
  const url = await urlOf(gateway);
  const sent = await logUntil(() => expected.test(gateway.stderr), url!);
  expect(await gateway.end()).toBe(0);

  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(sent);
  const [failed, written, synced] = (await readFile(calls, "utf8"))
    .split("\n")
    .filter((call) => !call.includes("<unfinished"));
  expect(failed).toMatch(/fdatasync.* = -1 EIO .*\(INJECTED\)/);
  expect(written).toMatch(/pwrite64.*, 0\) = \d+$/);
  expect(synced).toMatch(when === "1" ? /fdatasync.* = 0$/ : /fdatasync.* = -1 EIO/);
});
