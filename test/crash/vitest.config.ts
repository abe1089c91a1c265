import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

/**
 * The tests of this folder with CRASH_MOMENTS moments, plus those that take too long for every
 * change.
 */
const config = mergeConfig(tests, { test: { fileParallelism: false } });

export default {
  ...config,
  test: { ...config.test, include: ["test/crash/*.test.ts", "test/crash/*.crash.ts"] },
};
