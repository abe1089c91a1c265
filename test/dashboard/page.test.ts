import { expect, test } from "vitest";
import { AUDIT, Rig } from "../harness/dashboard.ts";

test("records of both lanes are shown live, each in its panel, and nothing offends the policy", async () => {
  await using rig = await Rig.start();
  await rig.postNumbered("before", 1, 30);
  await using dashboard = await rig.open();
  await dashboard.showsLast("system_log", "before 30");
  await rig.post([
    { message: "High memory usage detected", severity: 13 },
    { message: "spawned", logger: AUDIT, attributes: { event_type: "instance_spawn" } },
  ]);
  await dashboard.showsLast("system_log", "High memory usage detected");
  await dashboard.showsLast("audit_log", "spawned");
  expect(await dashboard.messages("audit_log")).toEqual(["spawned"]);
  expect(await dashboard.text("[data-type=system_log] [data-level=WARNING]")).toBe("WARNING");
});
