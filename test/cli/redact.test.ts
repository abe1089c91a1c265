import { expect, test } from "vitest";
import { MAIN, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

const LINES = [
  "mail from bob@example.com",
  'INFO {"note":"fine"}',
  '{"level":"info","password":"hunter2","to":"ada@example.com"}',
  "\x1b[31mtoken expired",
];

test("tailgate redact prints lines without secrets, and which rules they match", async () => {
  await using workspace = await Workspace.create({
    "app.log": `${LINES.join("\r\n")}\n`,
    "tailgate.yaml":
      "processors: { redact/a: { patterns: [email], keys: [] }, redact/b: { action: remove } }",
    "empty.yaml": "",
  });
  const run = (args: string): Program => {
    const command = `"${process.execPath}" "${MAIN}" redact ${args} < app.log`;
    return new Program("sh", ["-c", command], { cwd: workspace.directory });
  };
  const [plain, tested, failing] = [
    run("--config empty.yaml"),
    run("--test"),
    run("--config no.yaml"),
  ];
  expect([await plain.ended, plain.stderr]).toEqual([0, ""]);
  expect(plain.stdout.split("\n")).toEqual([
    "mail from [REDACTED:email]",
    LINES[1],
    '{"level":"info","password":"[REDACTED:keys]","to":"[REDACTED:email]"}',
    LINES[3],
    "",
  ]);
  expect(await tested.ended).toBe(0);
  expect(tested.stdout.split("\n")).toEqual([
    "email\tmail from [REDACTED:email]",
    `-\t${LINES[1]}`,
    'email,keys\t{"level":"info","to":"[REDACTED:email]"}',
    String.raw`-` + "\t" + String.raw`\x1b[31mtoken expired`,
    "",
  ]);
  expect(tested.stderr).toBe("tailgate: 2 of 4 lines contain secrets: email 2, keys 1.\n");
  expect([await failing.ended, failing.stdout]).toEqual([78, ""]);
});
