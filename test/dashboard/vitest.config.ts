import { mergeConfig } from "vitest/config";
import tests from "../vitest.config.ts";

/** Tests in Chromium and Firefox, which npm does not install: `npm run test:browsers`. */
const config = mergeConfig(tests, {});

export default { ...config, test: { ...config.test, include: ["test/**/*.browser.ts"] } };
