import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Program } from "./harness/program.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

test("a record runs through no more files than docs/architecture.md promises", async () => {
  const args = ["--import", "./test/harness/source-hooks.ts", "test/record-path.ts"];
  const list = await Program.run(process.execPath, args, { cwd: ROOT });
  expect(list).toMatch(/^OTLP record, socket to journal: \d+ files/m);
  expect(list).toMatch(/^logger\.info\(\), call to WebSocket frame: \d+ files/m);
});
