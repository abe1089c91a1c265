import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

/** Tests of the package as users get it, installed or bundled: `npm run test:package`. */
const config = mergeConfig(tests, {});

export default { ...config, test: { ...config.test, include: ["test/package/*.package.ts"] } };
