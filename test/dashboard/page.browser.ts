import { expect, test } from "vitest";
import { AUDIT, DashboardGateway } from "../harness/dashboard.ts";

test("records of both types are shown live, each in its panel, without policy violations", async () => {
  await using gateway = await DashboardGateway.start();
  await gateway.postNumbered("before", 1, 30);
  await using dashboard = await gateway.open();
  await dashboard.showsLast("system_log", "before 30");
  await gateway.post([
    { message: "High memory usage detected", severity: 13 },
    { message: "spawned", logger: AUDIT, attributes: { event_type: "instance_spawn" } },
  ]);
  await dashboard.showsLast("system_log", "High memory usage detected");
  await dashboard.showsLast("audit_log", "spawned");
  expect(await dashboard.messages("audit_log")).toEqual(["spawned"]);
  expect(await dashboard.text("[data-type=system_log] [data-level=WARNING]")).toBe("WARNING");
});
