/** Runs the configurations of the page about processors on the records that its tables show. */

import { expect, test } from "vitest";
import { parse } from "yaml";
import { extras, ProcessingGateway, textRecord } from "../plugins/processors/processing-gateway.ts";
import { Document } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/guides/processors.md");

const SEVERITIES: Readonly<Record<string, number>> = { INFO: 9, WARNING: 13, ERROR: 17 };

/** Returns the code in a cell. */
function code(cell = ""): string {
  return /`(.*)`/.exec(cell)?.[1] ?? "";
}

/** Starts a gateway with the processors of an example. */
function startWith(example: string): Promise<ProcessingGateway> {
  const { processors } = parse(page.example(example)) as {
    processors: Record<string, Record<string, unknown>>;
  };
  return ProcessingGateway.start(processors);
}

test("filter drops what the page says", async () => {
  await using gateway = await startWith("config-processors");
  const rows = tableAfter(page, "filter");
  for (const [logger, level, message, attributes] of rows) {
    const given = JSON.parse(code(attributes) || "{}") as Record<string, string>;
    const record = textRecord(code(message), given, SEVERITIES[level!]);
    await gateway.send({ logger: code(logger), records: [record] });
  }
  const stored = (await gateway.stored()).map(({ data }) => [data.logger, data.message]);
  const expected = rows.filter(([, , , , result]) => result === "stored");
  expect(stored).toEqual(expected.map(([logger, , message]) => [code(logger), code(message)]));
});

test("attributes changes records as the page says", async () => {
  await using gateway = await startWith("config-attributes");
  const resource = [{ key: "host.name", value: { stringValue: "db-1" } }];
  const rows = tableAfter(page, "attributes").map(([sent, stored]) => [code(sent), code(stored)]);
  for (const [sent] of rows) {
    const record = textRecord("message", JSON.parse(sent!) as Record<string, string>);
    await gateway.send({ logger: "app", records: [record], resource });
  }
  const stored = (await gateway.stored()).map(({ data }) => extras(data));
  expect(stored).toEqual(rows.map(([, expected]) => JSON.parse(expected!) as object));
});

test("parse makes of messages what the page says", async () => {
  await using gateway = await startWith("config-parse");
  const rows = tableAfter(page, "parse");
  for (const [message] of rows) {
    await gateway.send({ logger: "app", records: [textRecord(code(message), {}, 0)] });
  }
  const stored = await gateway.stored();
  expect(stored.map(({ data }) => [data.message, data.level, extras(data)])).toEqual(
    rows.map(([, message, level, attributes]) => [
      code(message),
      level,
      JSON.parse(code(attributes)) as object,
    ]),
  );
});

test("throttle stores what the page says, and a summary of the rest", async () => {
  await using gateway = await startWith("config-throttle");
  const rows = tableAfter(page, "throttle");
  for (const [logger, message] of rows) {
    await gateway.send({ logger: code(logger), records: [textRecord(code(message))] });
  }
  const stored = rows.filter(([, , result]) => result === "stored");
  expect(await gateway.messages()).toEqual(stored.map(([, message]) => code(message)));
  expect(await gateway.metric("tailgate_throttle_suppressed_total", "throttle")).toBe(
    rows.length - stored.length,
  );
});

test("dedupe stores what the page says, and a count before the next record", async () => {
  await using gateway = await startWith("config-dedupe");
  for (const [logger, message, attributes] of tableAfter(page, "dedupe")) {
    const given = JSON.parse(code(attributes) || "{}") as Record<string, string>;
    await gateway.send({ logger: code(logger), records: [textRecord(code(message), given)] });
  }
  const stored = (await gateway.stored()).map(({ data }) => [data.message, data["log_count"]]);
  expect(stored).toEqual([
    ["No route to host", undefined],
    ["GET /orders", undefined],
    ["No route to host", 2],
    ["Connected", undefined],
  ]);
});
