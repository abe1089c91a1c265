import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { resolveConfig } from "../../src/config/config.ts";
import {
  textRecord,
  ProcessingGateway,
  type SentRecords,
} from "./processors/processing-gateway.ts";

const WARNING = 13;

/** Records that name the case that they are sent for. */
function recordsOf(name: string): readonly SentRecords[] {
  return [
    {
      logger: "app.http",
      records: [
        textRecord("GET /health 200", { case: name, route: "/health" }),
        textRecord("GET /orders 200", { case: name, route: "/orders", "http.method": "GET" }),
        textRecord("bad gateway", { case: name, route: "/orders", instance_id: "i-1" }, WARNING),
        textRecord("pasted route:/health of another service", { case: name }),
      ],
      resource: [{ key: "service.name", value: { stringValue: "shop" } }],
    },
    {
      logger: "app.jobs",
      records: [
        textRecord("started", { case: name }),
        textRecord("bad luck", { case: name, queue: "mail" }, WARNING),
      ],
    },
    {
      logger: "orchestrator.audit",
      records: ["i-1", "i-2"].map((instance) =>
        textRecord(`Instance ${instance} spawned`, {
          case: name,
          event_type: "instance_spawn",
          instance_id: instance,
        }),
      ),
    },
  ];
}

const COUNT = recordsOf("").flatMap(({ records }) => records).length;

const FILTERS = [
  "level:WARNING",
  "route:/health",
  "-logger:app.jobs -instance_id:i-1",
  'type:audit instance_id:"i-2"',
  "service:shop http.method:GET",
  "-orders",
];

describe("the processor filter", () => {
  /** Without processors: the API says which records a filter matches. */
  let unfiltered: ProcessingGateway;
  let dropping: ProcessingGateway;
  let keeping: ProcessingGateway;

  beforeAll(async () => {
    unfiltered = await ProcessingGateway.start({});
    const drops = FILTERS.map((q, index) => {
      const options = { drop: `case:"${index}" ${q}`, audit: true };
      return [`filter/${index}`, options] as const;
    });
    dropping = await ProcessingGateway.start(Object.fromEntries(drops));
    keeping = await ProcessingGateway.start({ filter: { keep: "service:shop route:/health" } });
  });

  afterAll(async () => {
    for (const gateway of [unfiltered, dropping, keeping]) await gateway[Symbol.asyncDispose]();
  });

  it("drops what a search finds", async () => {
    for (const [index, q] of FILTERS.entries()) {
      for (const sent of recordsOf(String(index))) {
        await unfiltered.send(sent);
        expect(await dropping.send(sent)).toBe(0);
      }
      const all = await unfiltered.messages(`case:"${index}"`);
      const found = await unfiltered.messages(`case:"${index}" ${q}`);
      expect(found).not.toEqual([]);
      const left = await dropping.messages(`case:"${index}"`);
      expect(left).toEqual(all.filter((message) => !found.includes(message)));
      const filtered = await dropping.metric("tailgate_records_filtered_total", `filter/${index}`);
      expect(filtered).toBe(found.length);
    }
  });

  it("keeps what a search finds, and audit events unless told otherwise", async () => {
    for (const sent of recordsOf("keep")) expect(await keeping.send(sent)).toBe(0);
    const kept = ["GET /health 200", "pasted route:/health of another service"];
    const events = ["Instance i-1 spawned", "Instance i-2 spawned"];
    expect(await keeping.messages()).toEqual([...kept, ...events]);
    const metric = (name: string): Promise<number> =>
      keeping.metric(`tailgate_records_${name}_total`, "filter");
    expect(await metric("received")).toBe(COUNT);
    expect(await metric("filtered")).toBe(COUNT - kept.length - events.length);
    expect(await metric("failed")).toBe(0);
    expect(keeping.lines.filter((line) => line.includes("processor.filter"))).toEqual([]);
  });

  it("drops what is logged in process, and rejects the audit event that it drops", async () => {
    const { logging } = dropping;
    logging.getLogger("app").info("read /orders", { case: "5" });
    logging.getLogger("app").info("unread", { case: "5" });
    const event = { eventType: "instance_spawn", case: "3" };
    await logging.audit({ ...event, instanceId: "i-3" });
    await expect(logging.audit({ ...event, instanceId: "i-2" })).rejects.toMatchObject({
      code: "AUDIT_REFUSED",
      message: expect.stringContaining("The event was filtered"),
    });
    expect(await dropping.messages("logger:app -logger:app.http -logger:app.jobs")).toEqual([
      "read /orders",
    ]);
    expect(await dropping.messages("case:3 instance_id:i-3")).toEqual(["instance_spawn"]);
    expect(await dropping.messages("case:3 instance_id:i-2")).toEqual([]);
    expect(dropping.lines.filter((line) => line.includes("processor.filter/3"))).toEqual([
      expect.stringContaining(
        'tailgate.processor.filter/3 - WARNING - Audit events that match case:"3" type:audit instance_id:"i-2" are dropped',
      ),
    ]);
  });
});

test.each([
  [{}, "processors.filter.keep: set a filter here or in drop; it is missing"],
  [{ keep: "a", drop: "b" }, "processors.filter.drop: set either keep or drop, not both"],
  [{ keep: " " }, "processors.filter.keep: expected a filter with at least one term"],
  [
    { drop: "level:LOUD" },
    'processors.filter.drop: The filter term "level:LOUD" is invalid: the level must be one of DEBUG',
  ],
])("the configuration %j is a problem", async (options, problem) => {
  const sources = { cwd: "/", env: {}, flags: {}, document: { processors: { filter: options } } };
  await expect(resolveConfig(sources)).rejects.toMatchObject({
    code: "CONFIG_INVALID",
    message: expect.stringContaining(problem),
  });
});
