/** For `node --import`: a process that runs our sources resolves the package's own names to them, without a build. */

import { registerHooks } from "node:module";

const SOURCES = new Map([
  ["tailgate/plugin", "../../src/plugin/index.ts"],
  ["tailgate/testing", "../../src/testing/index.ts"],
  ["tailgate/client", "../../src/client/index.ts"],
  ["tailgate", "../../src/index.ts"],
]);

registerHooks({
  resolve: (specifier, context, nextResolve) => {
    const source = SOURCES.get(specifier);
    return nextResolve(source ? new URL(source, import.meta.url).href : specifier, context);
  },
});
