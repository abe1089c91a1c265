import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { ProcessingGateway, textRecord } from "./processors/processing-gateway.ts";

/** Longer than the tests run. */
const FOREVER = 3600;

const ERROR = 17;

let workspace: Workspace;
let gateway: ProcessingGateway;

beforeAll(async () => {
  workspace = await Workspace.create();
  gateway = await ProcessingGateway.start(
    {
      throttle: { filter: "logger:plain", threshold: 2, window_seconds: FOREVER },
      "throttle/template": {
        filter: "logger:template",
        key: ["message_template"],
        threshold: 1,
        window_seconds: FOREVER,
      },
      "throttle/attributes": {
        filter: "logger:attributes",
        key: ["instance_id", "resource.service.name"],
        threshold: 1,
        window_seconds: FOREVER,
        max_keys: 2,
      },
      "throttle/short": {
        filter: "logger:short",
        key: ["logger"],
        threshold: 1,
        window_seconds: 0.1,
      },
    },
    { logDir: workspace.path("logs"), exporters: { file: {} } },
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

function send(logger: string, messages: readonly string[], severity?: number): Promise<number> {
  const records = messages.map((message) => textRecord(message, {}, severity));
  return gateway.send({ logger, records });
}

test("by default each logger and level has a rate of its own, and audit events have none", async () => {
  await send("plain.one", ["1", "2", "3", "4"]);
  for (const message of ["1", "2", "3"]) gateway.logging.getLogger("plain.two").info(message);
  await send("plain.one", ["1", "2", "3"], ERROR);
  await send("orchestrator.audit", ["1", "2", "3", "4", "5"]);
  const stored = await gateway.stored("logger:plain");
  expect(stored.map(({ data }) => [data.logger, data.level, data.message])).toEqual([
    ["plain.one", "INFO", "1"],
    ["plain.one", "INFO", "2"],
    ["plain.two", "INFO", "1"],
    ["plain.two", "INFO", "2"],
    ["plain.one", "ERROR", "1"],
    ["plain.one", "ERROR", "2"],
  ]);
  expect(await gateway.stored("type:audit")).toHaveLength(5);
  expect(await gateway.metric("tailgate_throttle_suppressed_total", "throttle")).toBe(4);
  expect(await gateway.metric("tailgate_records_filtered_total", "throttle")).toBe(4);
  expect(await gateway.metric("tailgate_throttle_open_windows", "throttle")).toBe(3);
});

test("message_template ignores numbers, ids and quoted texts", async () => {
  await send("template", ['Retry 1 of "a"', 'Retry 2 of "b"', "Failed", 'Retry 3 of "c"']);
  expect(await gateway.messages("logger:template")).toEqual(['Retry 1 of "a"', "Failed"]);
});

test("a window beyond max_keys ends the oldest one early, with its summary", async () => {
  const record = (id: string, second: number): object => ({
    ...textRecord(`${id} ${second}`, { instance_id: id }, 13),
    timeUnixNano: `${1_760_347_644 + second}000000000`,
  });
  await gateway.send({
    logger: "attributes",
    records: [record("a", 0), record("a", 1), record("a", 2), record("b", 3), record("c", 4)],
    resource: [{ key: "service.name", value: { stringValue: "worker" } }],
  });
  const stored = (await gateway.stored("logger:attributes")).map(({ data }) => data);
  const passed = stored.filter((data) => !("throttle.count" in data));
  expect(passed.map(({ message }) => message)).toEqual(["a 0", "b 3", "c 4"]);
  expect(stored.find((data) => "throttle.count" in data)).toMatchObject({
    level: "WARNING",
    message: "2 more records in 3600 s suppressed: instance_id a, resource.service.name worker",
    service: "worker",
    "throttle.count": 2,
    "throttle.first_timestamp": "2025-10-13T09:27:25.000000Z",
    "throttle.last_timestamp": "2025-10-13T09:27:26.000000Z",
    "throttle.key": { instance_id: "a", "resource.service.name": "worker" },
  });
  const evicted = "tailgate_throttle_evicted_windows_total";
  expect(await gateway.metric(evicted, "throttle/attributes")).toBe(1);
});

test("a window ends by itself, and the next one begins with the next record", async () => {
  await send("short", ["1", "2"]);
  await vi.waitFor(async () =>
    expect(await gateway.messages("logger:short")).toEqual([
      "1",
      "1 more record in 0.1 s suppressed: logger short",
    ]),
  );
  await send("short", ["3"]);
  expect((await gateway.messages("logger:short")).at(-1)).toBe("3");
});

test("an invalid filter is a problem of the configuration", async () => {
  const starting = ProcessingGateway.start({ throttle: { filter: "level:LOUD" } });
  await expect(starting).rejects.toMatchObject({
    code: "CONFIG_INVALID",
    message: expect.stringContaining("processors.throttle.filter: The filter term"),
  });
});

test("a stop stores the summaries of open windows", async () => {
  await gateway.logging.stop();
  const lines = (await readFile(workspace.path("logs/orchestrator.log"), "utf8")).split("\n");
  const summaries = lines.filter(
    (line) => line.includes("throttle.count") && line.includes("plain"),
  );
  expect(
    summaries.map((line) => {
      const { logger, level, message } = JSON.parse(line) as Record<string, string>;
      return [logger, level, message];
    }),
  ).toEqual([
    ["plain.one", "INFO", "2 more records in 3600 s suppressed: logger plain.one, level INFO"],
    ["plain.two", "INFO", "1 more record in 3600 s suppressed: logger plain.two, level INFO"],
    ["plain.one", "ERROR", "1 more record in 3600 s suppressed: logger plain.one, level ERROR"],
  ]);
});
