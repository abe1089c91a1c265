/** Waits until a gateway has stored an audit event; run it with `--import ./connect.mjs`. */

import pino from "pino";
import { logging } from "./connect.mjs";

const logger = pino({ name: "orchestrator.server" });

const { key } = await logging.audit({ eventType: "instance_spawn", instanceId: "abc-123" });
logger.info({ key }, "Instance spawned");
