/**
 * Tests the suite that plugins are tested with, because one that finds nothing would always pass.
 * The built-in exporters run it in their own tests, each with its real destination.
 */

import { readFile } from "node:fs/promises";
import { exporterContract, type ExporterHarness } from "tailgate/testing";
import { describe, expect, test } from "vitest";
import { builtInNames } from "../../src/config/built-ins.ts";
import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";

test.each(builtInNames("exporters"))("the tests of %s run the suite", async (name) => {
  const source = await readFile(new URL(`${name}.test.ts`, import.meta.url), "utf8");
  expect(source).toContain("exporterContract(");
});

/** An exporter whose destination is a list. */
function harnessOf(open: (arrived: string[]) => Exporter, { durable = true } = {}) {
  return (): ExporterHarness => {
    const arrived: string[] = [];
    return {
      definition: defineExporter({
        name: "list",
        description: "For tests.",
        options: z.object({}),
        open: () => open(arrived),
      }),
      durable,
      connect: async () => () => arrived,
    };
  };
}

/** Returns the names of the cases that fail. */
async function failures(harness: () => ExporterHarness): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of exporterContract(harness)) {
    await run().catch(() => failed.push(name));
  }
  return failed;
}

/** Remembers the sequence of the newest record it has written. */
function correct(arrived: string[]): Exporter {
  let written = 0;
  return {
    write(batch) {
      if (batch.sequence(0) <= written) return;
      arrived.push(...messagesOf(batch));
      written = batch.sequence(batch.length - 1);
    },
  };
}

function messagesOf(batch: Batch): string[] {
  return Array.from({ length: batch.length }, (_, index) => batch.envelope(index).data.message);
}

describe("the suite", () => {
  test("passes an exporter that fulfills the contract", async () => {
    expect(await failures(harnessOf(correct))).toEqual([]);
  });

  test("passes one whose destination is reset with it", async () => {
    const harness = harnessOf(
      (arrived) => {
        arrived.length = 0;
        return correct(arrived);
      },
      { durable: false },
    );
    expect(await failures(harness)).toEqual([]);
  });

  test("writes the type of records that the exporter asks for when it is opened", async () => {
    const types = new Set<string>();
    const harness = harnessOf((arrived) => {
      const exporter = correct(arrived);
      return {
        type: "audit_log",
        write(batch, signal) {
          types.add(batch.type(0));
          return exporter.write(batch, signal);
        },
      };
    });
    await exporterContract(harness)[0]!.run();
    expect([...types]).toEqual(["audit_log"]);
  });

  test("detects omitted records", async () => {
    const harness = harnessOf((arrived) => ({
      write: (batch) => void arrived.push(...messagesOf(batch).slice(1)),
    }));
    expect(await failures(harness)).toContain("writes every record once and in order");
  });

  test("detects reordering", async () => {
    const harness = harnessOf((arrived) => ({
      write: (batch) => void arrived.push(...messagesOf(batch).toReversed()),
    }));
    expect(await failures(harness)).toContain("writes every record once and in order");
  });

  test("detects a batch written twice", async () => {
    const harness = harnessOf((arrived) => ({
      write: (batch) => void arrived.push(...messagesOf(batch)),
    }));
    expect(await failures(harness)).toEqual([
      "does not write a batch twice whose confirmation was lost",
    ]);
  });

  test("detects a batch acknowledged before it is written", async () => {
    const harness = harnessOf((arrived) => {
      let begun = 0;
      let calls = 0;
      return {
        write(batch) {
          if (batch.sequence(0) <= begun) return;
          begun = batch.sequence(batch.length - 1);
          if (++calls === 2) throw new Error("the other side is away");
          arrived.push(...messagesOf(batch));
        },
      };
    });
    expect(await failures(harness)).toContain("writes every record once and in order");
  });

  test("detects records that are buffered and lost on close", async () => {
    const harness = harnessOf((arrived) => {
      let kept: string[] = [];
      return {
        write(batch) {
          arrived.push(...kept);
          kept = messagesOf(batch);
        },
      };
    });
    expect(await failures(harness)).toContain("has written every batch when it is closed");
  });

  test("detects deletion of earlier output at startup", async () => {
    const harness = harnessOf((arrived) => {
      arrived.length = 0;
      return correct(arrived);
    });
    expect(await failures(harness)).toEqual(["resumes after a restart"]);
  });
});
