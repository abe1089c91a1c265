import { readFile, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { configReference } from "../../src/config/reference.ts";

const README = new URL("../../README.md", import.meta.url);

const REFERENCE = /(?<=^<!-- reference:begin -->\n)[^]*(?=^<!-- reference:end -->$)/m;

test("the README contains the configuration reference (UPDATE_README=1 writes it)", async () => {
  const generated = `\n${await configReference()}\n\n`;
  const readme = await readFile(README, "utf8");
  if (process.env["UPDATE_README"] === "1") {
    await writeFile(
      README,
      readme.replace(REFERENCE, () => generated),
    );
  }
  expect(REFERENCE.exec(await readFile(README, "utf8"))?.[0]).toBe(generated);
});
