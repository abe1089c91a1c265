import { expect, test } from "vitest";
import { currentPart, GENERATED } from "./generated.ts";

test.each(GENERATED)("$page is up to date (npm run docs)", async (part) => {
  expect(await currentPart(part)).toBe(await part.generate());
});
