/** The gateway inside the process that logs: `node --import ./in-process.mjs winston.mjs`. */

import { LoggingManager } from "tailgate";

// From here on, loggers of @opentelemetry/api and of @opentelemetry/api-logs lead to it.
const exporters = { websocket: {}, file: {}, "audit-file": {} }; // no console: the program's logger has its own
const logging = await LoggingManager.start({ logDir: "logs", exporters });
console.log(`The logs are shown at ${logging.url}`);

// The gateway goes on, with its page, when the program has nothing more to do. This writes what is left.
process.once("SIGTERM", () => logging.stop());
