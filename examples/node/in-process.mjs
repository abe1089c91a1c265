/** Starts a gateway in the process that logs: `node --import ./in-process.mjs app.mjs`. */

import { LoggingManager } from "tailgate";

export const logging = await LoggingManager.start({
  logDir: "logs",
  // No console: the program's logger has its own.
  exporters: { websocket: {}, file: {}, "audit-file": {} },
});
console.log(`Dashboard: ${logging.url}`);

// Keeps the process, and so the dashboard, running until SIGTERM. A server does not need this.
const stay = setInterval(() => {}, 60_000);
process.once("SIGTERM", async () => {
  clearInterval(stay);
  await logging.stop();
});
