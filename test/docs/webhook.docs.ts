/** Runs the configuration of docs/integrations/webhook.md, and the receivers that it shows, as a reader would. */

import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { Program, requireInstalled } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { WebhookReceiver } from "../plugins/webhook/receiver.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/integrations/webhook.md");

const EVENT = {
  eventType: "instance_terminate",
  instanceId: "i-1",
  details: { reason: "idle" },
};

const SECRET = `whsec_${randomBytes(32).toString("base64")}`;

let chat: WebhookReceiver;

beforeAll(async () => {
  chat = await WebhookReceiver.open();
  vi.stubEnv("SLACK_WEBHOOK_URL", `${chat.url}/services/T0/B0/x`);
  vi.stubEnv("WEBHOOK_SECRET", SECRET);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await chat[Symbol.asyncDispose]();
});

/** Starts the gateway of the page, whose webhook to port 9000 goes to another one. */
async function gatewayOf(port: string | number = 1): Promise<LoggingManager> {
  const config = page.example("config-webhook").replace(":9000/", `:${port}/`);
  const workspace = await Workspace.create({ "tailgate.yaml": config });
  const logging = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null } },
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(async () => {
    await logging.stop();
    await workspace[Symbol.asyncDispose]();
  });
  return logging;
}

test("an ERROR is posted as the page shows, and nothing else is", async () => {
  const logging = await gatewayOf();
  const logger = logging.getLogger("orchestrator.server");
  logger.warning("not worth an alert");
  logger.error("Cannot bind <port 80> & exit");
  logger.info("not worth one either");
  await vi.waitFor(() => expect(chat.requests).not.toEqual([]));
  expect(chat.requests.map(({ url, body }) => [url, body])).toEqual([
    ["/services/T0/B0/x", page.example("webhook-alert.json").trim()],
  ]);
});

test("without a body, a request has what the page shows", async () => {
  await using receiver = await WebhookReceiver.open();
  const logging = await gatewayOf(new URL(receiver.url).port);
  const { seq } = await logging.audit(EVENT);
  await vi.waitFor(() => expect(receiver.requests).toHaveLength(1));
  const shown = page
    .example("webhook-batch.json")
    .trim()
    .replace("<epoch>:<sequence>", `[^:"]+:${seq}`)
    .replace(/"timestamp":"[^"]+"/, '"timestamp":"[^"]+"');
  const pattern = shown.replaceAll(/[{}]/g, "\\$&").replace(/^\[/, "\\[").replace(/\]$/, "\\]");
  expect(receiver.requests[0]!.body).toMatch(new RegExp(`^${pattern}$`));
});

const RECEIVERS = [
  ["receiver.mjs", async () => process.execPath],
  ["receiver.py", () => requireInstalled("python3", "python3")],
] as const;

test.each(RECEIVERS)("%s accepts genuine requests only", async (name, command) => {
  await using workspace = await Workspace.create({ [name]: page.example(name) });
  await using receiver = new Program(await command(), [name], {
    cwd: workspace.directory,
    env: { WEBHOOK_SECRET: SECRET, PORT: "0" },
  });
  const [, port] = await receiver.untilStdout(/port (\d+)/);
  const logging = await gatewayOf(port);
  const { seq } = await logging.audit(EVENT);
  await receiver.untilStdout(new RegExp(`^\\S+:${seq} instance_terminate$`, "m"));

  const forged = await fetch(`http://127.0.0.1:${port}/stops`, {
    method: "POST",
    headers: {
      "webhook-id": "1",
      "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
      "webhook-signature": `v1,${Buffer.alloc(32).toString("base64")}`,
    },
    body: "[]",
  });
  expect(forged.status).toBe(401);
});
