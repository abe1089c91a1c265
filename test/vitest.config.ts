import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string): string => fileURLToPath(new URL(`../src/${path}`, import.meta.url));

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  resolve: {
    alias: [
      { find: /^tailgate\/plugin$/, replacement: source("plugin/index.ts") },
      { find: /^tailgate\/client$/, replacement: source("client/index.ts") },
      { find: /^tailgate\/react$/, replacement: source("client/react.ts") },
      { find: /^tailgate\/testing$/, replacement: source("testing/index.ts") },
      { find: /^tailgate$/, replacement: source("index.ts") },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: [fileURLToPath(new URL("build.ts", import.meta.url))],
    setupFiles: [fileURLToPath(new URL("patient-waits.ts", import.meta.url))],
    expect: { poll: { timeout: 15_000 } },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    retry: 0,
    // Most tests wait for child processes: three files at a time keep two cores busy.
    maxWorkers: Math.max(3, availableParallelism() - 1),
  },
});
