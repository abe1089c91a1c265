import { fileURLToPath } from "node:url";
import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

const missing = fileURLToPath(new URL("missing.ts", import.meta.url));

/** Tests with third-party programs built by test/setup-peers.sh: `npm run test:peers`. */
const config = mergeConfig(tests, {
  test: { globalSetup: [missing], fileParallelism: false, testTimeout: 60_000 },
});

const loki = process.env["LOKI"] ? ["test/peers/*.loki.ts"] : [];

export default { ...config, test: { ...config.test, include: ["test/peers/*.peers.ts", ...loki] } };
