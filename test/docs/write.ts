/** Writes the generated parts of the documentation: `npm run docs`, on a built checkout. */

import { writeGeneratedParts } from "./generated.ts";

await writeGeneratedParts();
