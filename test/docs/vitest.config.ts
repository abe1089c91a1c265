import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

/** The examples of the documentation, run as a reader would run them: `npm run test:docs`. */
const config = mergeConfig(tests, { test: { testTimeout: 120_000, hookTimeout: 120_000 } });

export default { ...config, test: { ...config.test, include: ["test/**/*.docs.ts"] } };
