import { describe, expect, it, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { startCli } from "../harness/program.ts";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import { untilOneHangs } from "./hanging.ts";
import { storedIn } from "./stored.ts";
import { postMessages } from "../harness/otlp.ts";
import { withFault } from "./strace.ts";

const LAST_WORDS = 8;

/**
 * A receiver that passes on records and, in the same turn, throws an uncaught exception. The
 * records are large, so that they take several commits.
 */
const FAULTY = `
  import { defineReceiver, z } from "tailgate/plugin";
  const record = {
    timestamp: 1n, observedTimestamp: 1n, severityNumber: 9, severityText: "INFO", body: "",
    eventName: "", attributes: new Map(), traceId: "", spanId: "", flags: 0, resource: null,
    scope: { name: "orchestrator.audit", version: "", attributes: new Map() },
  };
  // Called after the gateway's monitor: nothing else gets a chance to become durable.
  process.on("uncaughtException", () => process.exit(7));
  export default defineReceiver({
    name: "faulty",
    description: "For tests.",
    options: z.object({}),
    open(options, host) {
      process.once("SIGUSR2", () => {
        setImmediate(() => {
          const filler = "x".repeat(700_000);
          for (let n = 1; n <= ${LAST_WORDS}; n++) {
            void host.intake.records([{ ...record, body: "last words " + n + " " + filler }]);
          }
          throw new Error("boom");
        });
      });
      return {};
    },
  });`;

/** Excludes the gateway's own records. */
async function messagesIn(directory: string): Promise<string[]> {
  const { others } = await storedIn(directory);
  return others.map(({ body }) => body).filter((body) => /^(message|last words) \d/.test(body));
}

/** A client that is not connected yet is no longer accepted. */
async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
}

describe("pending records", () => {
  it("become durable before a plugin that throws ends the process", async () => {
    await using workspace = await Workspace.create({
      "tailgate.yaml":
        "port: 0\nlog_dir: logs\nreceivers: { faulty: { use: ./faulty.mjs } }\nexporters: {}",
      "faulty.mjs": FAULTY,
    });
    await workspace.install("tailgate");
    await using cli = startCli([], { cwd: workspace.directory });
    await cli.untilStderr(/listening/);
    cli.process.kill("SIGUSR2");
    expect(await cli.ended).toBe(7);
    const messages = await messagesIn(workspace.path("logs"));
    expect(messages.map((message) => message.slice(0, 12))).toEqual(
      Array.from({ length: LAST_WORDS }, (_, index) => `last words ${index + 1}`),
    );
  });

  it("become durable after SIGTERM, and waiting callers are answered", async () => {
    await using site = await CrashSite.create();
    // The sync of the third request, and of each later one, takes a second.
    const through = await withFault(site.logDir, "fsync", "delay_enter=1000000", "9+1");
    await using gateway = await site.start({ through });
    const url = (await urlOf(gateway))!;
    const { requests } = await untilOneHangs(url, (index) =>
      postMessages(url, [`message ${index}`]),
    );
    gateway.process.kill("SIGTERM");
    await vi.waitFor(async () => expect(await isReady(url)).toBe(false));
    expect(await Promise.all(requests)).toEqual(requests.map(() => 200));
    expect(await gateway.ended).toBe(0);
    const messages = requests.map((_, index) => `message ${index}`);
    expect(await messagesIn(site.logDir)).toEqual(messages);
  });

  it("become durable at a second signal, however long the shutdown would take", async () => {
    await using site = await CrashSite.create();
    const through = await withFault(site.logDir, "fsync", "delay_enter=1000000", "9+1");
    await using gateway = await site.start({ through });
    const url = (await urlOf(gateway))!;
    const { requests } = await untilOneHangs(url, (index) =>
      postMessages(url, [`message ${index}`]).catch(() => 0),
    );
    gateway.process.kill("SIGTERM");
    gateway.process.kill("SIGINT");
    expect(await gateway.ended).toBe(1);
    const messages = requests.map((_, index) => `message ${index}`);
    expect(await messagesIn(site.logDir)).toEqual(messages);
  });
});
