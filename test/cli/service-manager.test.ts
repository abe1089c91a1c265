import { chmod, readFile } from "node:fs/promises";
import { describe, expect, test, vi } from "vitest";
import { urlOf, CrashSite } from "../harness/crash-site.ts";
import { startCli } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { withFault } from "../crash/strace.ts";

/** In place of systemd-notify: writes the states that it gets to a file, one line each time. */
const RECORDER = `#!/bin/sh
printf '%s\\n' "$*" >> "\${0%/*}/../states"
`;

/** Writes the program into the workspace; returns the environment of a service in which the gateway finds it first. */
async function serviceEnvironment(
  workspace: Workspace,
  program: string,
): Promise<Record<string, string>> {
  await workspace.write("bin/systemd-notify", program);
  await chmod(workspace.path("bin/systemd-notify"), 0o755);
  const path = `${workspace.path("bin")}:${process.env["PATH"]}`;
  return { PATH: path, NOTIFY_SOCKET: workspace.path("notify"), WATCHDOG_USEC: "400000" };
}

async function statesIn(workspace: Workspace): Promise<string[]> {
  return (await readFile(workspace.path("states"), "utf8")).trimEnd().split("\n");
}

/** Waits until the states that were sent so far pass the check. */
function untilStates(workspace: Workspace, check: (states: string[]) => void): Promise<void> {
  return vi.waitFor(async () => check(await statesIn(workspace)), {
    timeout: 20_000,
    interval: 20,
  });
}

const ARGS = ["--port", "0", "--otlp-port", "0", "--log-dir", "logs"];

describe("a service manager", () => {
  test("learns when the gateway starts, is ready, is alive and stops", async () => {
    await using workspace = await Workspace.create();
    const env = await serviceEnvironment(workspace, RECORDER);
    await using cli = startCli(ARGS, { cwd: workspace.directory, env });
    const [, url] = await cli.untilStderr(/listening on (\S+) \(dashboard/);
    await untilStates(workspace, (states) =>
      expect(states.filter((state) => state === "WATCHDOG=1").length).toBeGreaterThan(1),
    );
    expect(await cli.end()).toBe(0);
    const [first, second, ...others] = await statesIn(workspace);
    expect(first).toBe("EXTEND_TIMEOUT_USEC=60000000 STATUS=Starting");
    expect(second).toBe(`READY=1 WATCHDOG=1 STATUS=Listening on ${url}`);
    expect(others.at(-1)).toBe("STOPPING=1 STATUS=Stopping");
    expect(new Set(others.slice(0, -1))).toEqual(new Set(["WATCHDOG=1"]));
    expect(cli.stderr).not.toContain("systemd-notify");
  });

  test("is not pinged for another process, and may be out of reach", async () => {
    await using workspace = await Workspace.create();
    const env = {
      ...(await serviceEnvironment(workspace, `${RECORDER}echo "no socket" >&2; exit 1`)),
      WATCHDOG_PID: "1",
    };
    await using cli = startCli(ARGS, { cwd: workspace.directory, env });
    await untilStates(workspace, (states) =>
      // What could not be sent before comes again.
      expect(states.at(-1)).toMatch(/EXTEND_.*READY=1/),
    );
    expect(await cli.end()).toBe(0);
    expect((await statesIn(workspace)).join()).not.toContain("WATCHDOG");
    expect(cli.stderr).toMatch(/^tailgate: The service manager could not be .*: no socket$/m);
    expect(cli.stderr.match(/could not be notified/g)).toHaveLength(1);
  });

  test("is not pinged while the disk does not answer, and learns why", async () => {
    await using site = await CrashSite.create();
    const env = await serviceEnvironment(site.workspace, RECORDER);
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const slow = await withFault(site.logDir, "fsync", "delay_enter=2000000", "9");
    const url = (await urlOf(await site.start({ through: ["env", ...variables, ...slow] })))!;
    // The sync of one of them takes two seconds.
    for (let index = 0; index < 5; index++) {
      const response = await fetch(`${url}/v1/logs`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"${index}"}}]}]}]}`,
      });
      expect(response.status).toBe(200);
    }
    // Without `WATCHDOG=1`.
    const stuck = expect.stringMatching(/^STATUS=The disk has not answered for \d+ s$/);
    await untilStates(site.workspace, (states) => {
      expect(states).toContainEqual(stuck);
      expect(states.at(-1)).toBe("WATCHDOG=1");
    });
  });
});
