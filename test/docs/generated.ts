/** The parts of pages that are generated from the code: `npm run docs` writes them, and a test compares them. */

import { readFile, writeFile } from "node:fs/promises";
import { configReference, processorReference } from "../../src/config/reference.ts";
import { commandReference } from "./command-reference.ts";
import { errorReference } from "./error-reference.ts";
import { repositoryPath } from "./document.ts";
import { HTTP_GROUP, LINES_GROUP, moduleReference } from "./plugin-reference.ts";
import { metricReference } from "./metric-reference.ts";

/** A page and what stands between its comments `generated:begin` and `generated:end`. */
export interface GeneratedPart {
  readonly page: string;
  generate(): Promise<string>;
}

export const GENERATED: readonly GeneratedPart[] = [
  { page: "docs/configuration.md", generate: configReference },
  { page: "docs/reference/processors.md", generate: processorReference },
  { page: "docs/cli.md", generate: commandReference },
  { page: "docs/errors.md", generate: errorReference },
  {
    page: "docs/plugins/api.md",
    generate: () =>
      moduleReference("plugin", 2, (title) => title !== HTTP_GROUP && title !== LINES_GROUP),
  },
  {
    page: "docs/plugins/api-http.md",
    generate: () => moduleReference("plugin", 2, (title) => title === HTTP_GROUP),
  },
  {
    page: "docs/plugins/api-lines.md",
    generate: () => moduleReference("plugin", 2, (title) => title === LINES_GROUP),
  },
  { page: "docs/plugins/testing.md", generate: () => moduleReference("testing", 3) },
  { page: "docs/operations/metrics.md", generate: metricReference },
];

const PART = /(?<=^<!-- generated:begin -->\n\n)[^]*(?=\n\n<!-- generated:end -->$)/m;

/** Returns the part as the page has it now. */
export async function currentPart({ page }: GeneratedPart): Promise<string | undefined> {
  return PART.exec(await readFile(repositoryPath(page), "utf8"))?.[0];
}

/** Writes the generated parts of all pages. */
export async function writeGeneratedParts(): Promise<void> {
  for (const { page, generate } of GENERATED) {
    const path = repositoryPath(page);
    const text = await generate();
    await writeFile(
      path,
      (await readFile(path, "utf8")).replace(PART, () => text),
    );
  }
}
