import { expect, test } from "vitest";
import { configReference } from "../../src/config/reference.ts";

test("the reference has a row for each key and option, with default and sources", async () => {
  const reference = await configReference();
  expect(reference).toContain(
    '| Key | Value | Default | Meaning | Also as |\n| --- | --- | --- | --- | --- |\n| `host` | text | `"127.0.0.1"` |',
  );
  expect(reference).toMatch(/^\| `log_dir` \| .* \| `--log-dir`, `MADROX_LOG_DIR`, `LOG_DIR` \|$/m);
  expect(reference).toMatch(/^\| `max_connections` \| .* \| `MAX_WS_CONNECTIONS` \|$/m);
  expect(reference).toMatch(/^\| `use` \| text \| none \| /m);
  expect(reference).toMatch(/^### exporters\.audit-file\n\nExporter\. /m);
});

test("every row of a table has as many cells as its header", async () => {
  const tables = (await configReference()).split("\n\n").filter((part) => part.startsWith("|"));
  expect(tables.length).toBeGreaterThan(5);
  for (const table of tables) {
    const widths = table.split("\n").map((row) => row.split(/(?<!\\)\|/).length);
    expect(widths).toEqual(widths.map(() => widths[0]));
  }
});
