import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

/** The tests of the package as its users get it, installed or bundled: `npm run test:package`. */
const config = mergeConfig(tests, {});

export default { ...config, test: { ...config.test, include: ["test/package/*.package.ts"] } };
