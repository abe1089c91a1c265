import { describe, expect, test } from "vitest";
import { configJsonSchema } from "../../src/config/reference.ts";

interface Schema {
  readonly $schema?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly properties: Readonly<Record<string, Schema>>;
  readonly patternProperties: Readonly<Record<string, Schema>>;
  readonly additionalProperties: Schema | false;
  readonly propertyNames: { readonly pattern: string };
}

const schema = (await configJsonSchema()) as Schema;

describe("the JSON Schema for editors", () => {
  test("is draft 7, which YAML editors support, and allows no unknown top-level keys", () => {
    expect(schema.$schema).toBe("http://json-schema.org/draft-07/schema#");
    expect(schema.additionalProperties).toBe(false);
    expect(Object.keys(schema.properties)).toEqual([
      "host",
      "port",
      "listen",
      "listen_mode",
      "tls",
      "insecure",
      "base_path",
      "trusted_proxies",
      "log_dir",
      "log_level",
      "audit_loggers",
      "envelope",
      "journal",
      "audit_key_file",
      "allowed_hosts",
      "trust_default_origins",
      "auth",
      "http",
      "trace_url",
      "receivers",
      "processors",
      "exporters",
    ]);
  });

  test("ignores keys that begin with x-, and requires exporters", () => {
    const extensions = { "^x-": {} };
    expect(schema.patternProperties).toEqual(extensions);
    expect(schema.properties["journal"]!.patternProperties).toEqual(extensions);
    const { patternProperties, type } = schema.properties["exporters"]!;
    for (const built of Object.values(patternProperties)) {
      expect(built.patternProperties).toEqual(extensions);
    }
    expect(type).toBe("object");
  });

  test("has defaults and descriptions, and accepts a substitution for a number", () => {
    expect(schema.properties["port"]).toEqual({
      description: expect.stringContaining("0 picks a free port"),
      default: 8001,
      anyOf: [
        { anyOf: [{ type: "integer", minimum: 0, maximum: 65_535 }, { type: "null" }] },
        { type: "string", pattern: "\\$\\{env:" },
      ],
    });
  });

  test("has the options of each built-in, under its name with and without a suffix", () => {
    const exporters = schema.properties["exporters"]!;
    const [pattern, file] = Object.entries(exporters.patternProperties)[1]!;
    expect(
      ["file", "file/audit-2", "files", "file/"].map((id) => RegExp(pattern).test(id)),
    ).toEqual([true, true, false, false]);
    expect(file.type).toEqual(["object", "null"]);
    expect(file.additionalProperties).toBe(false);
    expect(Object.keys(file.properties)).toEqual([
      "path",
      "max_bytes",
      "backups",
      "use",
      "level",
      "filter",
      "queue_bytes",
      "timeout_seconds",
    ]);
  });

  test("accepts other components with any options, exporters with a level", () => {
    const others = (section: string): string[] => {
      const { additionalProperties } = schema.properties[section]!;
      return Object.keys((additionalProperties as Schema).properties);
    };
    expect(others("receivers")).toEqual(["use", "attributes"]);
    expect(others("exporters")).toEqual([
      "use",
      "level",
      "filter",
      "queue_bytes",
      "timeout_seconds",
    ]);
    expect(schema.properties["exporters"]!.propertyNames.pattern).toBe(
      "^[a-z][a-z0-9-]*(\\/[A-Za-z0-9._-]{1,64})?$",
    );
  });

  test("describes each option of the built-ins", () => {
    const sections = ["receivers", "processors", "exporters"].map(
      (name) => schema.properties[name]!,
    );
    for (const component of sections.flatMap((one) => Object.values(one.patternProperties))) {
      for (const [key, { description }] of Object.entries(component.properties)) {
        expect({ key, description }).toEqual({
          key,
          description: expect.stringMatching(/^\S.*\.$/s),
        });
      }
    }
  });
});
