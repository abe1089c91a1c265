import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, onTestFinished, test } from "vitest";
import { createRecord } from "tailgate/plugin";
import { testHost } from "tailgate/testing";
import throttle from "../../../plugins/throttle.ts";
import { DEFAULT_LOGGER_NAMES } from "../../../src/envelope/prefix.ts";
import { viewOf } from "../../../src/intake/processors.ts";
import { encodeLogRecord } from "../../../src/otlp/encode.ts";

setFlagsFromString("--expose_gc");
const collectGarbage = runInNewContext("gc") as () => void;

const TEXTS = 64;
const TEXT_BYTES = 512 << 10;

test("a window keeps the start of a long text, and not all of it", async () => {
  const host = await testHost("test");
  onTestFinished(() => host.close());
  const options = throttle.options.parse({ key: ["text"], threshold: 1, window_seconds: 3600 });
  const processor = await throttle.open(options, { ...host, emit: () => {} });
  const pass = (index: number): void => {
    const text = `${index} ${"x".repeat(TEXT_BYTES)}`;
    const record = createRecord({ logger: "app", level: "INFO", body: "", attributes: { text } });
    const view = viewOf(encodeLogRecord(record), DEFAULT_LOGGER_NAMES);
    expect([processor.inspect!(view), processor.inspect!(view)]).toEqual(["pass", "drop"]);
  };
  pass(0);
  collectGarbage();
  const before = process.memoryUsage();
  for (let index = 1; index <= TEXTS; index++) pass(index);
  collectGarbage();
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.external - before.heapUsed - before.external;
  expect(grown).toBeLessThan((TEXTS * TEXT_BYTES) / 4);
});
