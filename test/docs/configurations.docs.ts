/** Runs `tailgate validate` on every configuration that a page shows: the examples named `config-...`. */

import { expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const pages = await Document.all();

const examples = pages.flatMap((page) =>
  page.exampleNames
    .filter((name) => name.startsWith("config-"))
    .map((name) => ({ name, path: page.path, text: page.example(name) })),
);

/** Values for the variables that the examples substitute. */
const ENVIRONMENT = {
  OTLP_TOKEN: "secret",
  LOKI_TOKEN: "secret",
  NTFY_TOKEN: "secret",
  SLACK_WEBHOOK_URL: "https://hooks.slack.com/services/T0/B0/secret",
  DISCORD_WEBHOOK_URL: "https://discord.com/api/webhooks/1/secret",
  WEBHOOK_SECRET: `whsec_${Buffer.alloc(32).toString("base64")}`,
};

test.each(examples)("$name in $path is valid", async ({ text }) => {
  // The token is in a file that an example names.
  await using workspace = await Workspace.create({ "tailgate.yaml": text, token: "secret" });
  const shown = await Program.run(
    process.execPath,
    [repositoryPath("dist/cli/main.js"), "validate"],
    { cwd: workspace.directory, env: ENVIRONMENT },
  );
  expect(shown).toContain(`valid: ${workspace.directory}/tailgate.yaml\n`);
});
