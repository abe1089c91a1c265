/** Tailgate's `otlp` exporter and VictoriaLogs, without a Collector. */

import { expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { startGateway } from "./gateway.ts";
import { freePort, localUrl } from "./peer.ts";
import { logsOfWorker, post } from "./requests.ts";
import { foundInVictoriaLogs, startVictoriaLogs } from "./victoria-logs.ts";

test("VictoriaLogs gets the records, with the logger as an attribute", async () => {
  await using workspace = await Workspace.create();
  const port = await freePort();
  await using _store = await startVictoriaLogs(workspace, port);
  const endpoint = `${localUrl(port)}/insert/opentelemetry`;
  const exporters = { otlp: { endpoint, logger_attribute: "logger" } };
  await using gateway = await startGateway(workspace, { exporters });
  expect(await post(`${gateway.url}/v1/logs`, logsOfWorker())).toBe(200);
  expect(
    await foundInVictoriaLogs(localUrl(port), 'logger:="orchestrator.audit"', 1),
  ).toMatchObject([{ _msg: "instance_spawn", "service.name": "worker", instance_id: "abc-123" }]);
});
