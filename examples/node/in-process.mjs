/** The gateway inside the process that logs: `node --import ./in-process.mjs winston.mjs`. */

import { LoggingManager } from "tailgate";

// From here on, loggers of @opentelemetry/api and of @opentelemetry/api-logs lead to it.
const exporters = { websocket: {}, file: {}, "audit-file": {} }; // no console: the program's logger has its own
const logging = await LoggingManager.start({ logDir: "logs", exporters });
console.log(`The logs are shown at ${logging.url}`);

// What is logged is written even if the program just ends. Here it stays, with the page, until SIGTERM.
const stay = setInterval(() => {}, 60_000);
process.once("SIGTERM", async () => {
  clearInterval(stay);
  await logging.stop();
});
