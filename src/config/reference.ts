import type { OptionSchema } from "../plugin/index.ts";
import { builtInNames, KIND_OF, loadBuiltIn, SECTIONS } from "./built-ins.ts";
import { optionsOf, type OptionDescription } from "./option-schema.ts";
import { FLAG_NAMES, OPTION_SOURCES, SETTING_SOURCES, type SettingKey } from "./overrides.ts";
import { GENERIC_SCHEMAS, httpSchema, journalSchema, settingsSchema } from "./settings.ts";

/** The tables of all keys and options as Markdown, for the README. */
export async function configReference(): Promise<string> {
  const parts = [
    table(settingsSchema, (key) => sourcesText(SETTING_SOURCES[key as SettingKey])),
    "Keys of `journal`:",
    table(journalSchema),
    "Keys of `http`:",
    table(httpSchema),
    "Every component takes `use`, and exporters take the others too:",
    table(GENERIC_SCHEMAS.exporters),
    "Processors take, beside `use`:",
    table(GENERIC_SCHEMAS.processors.omit({ use: true })),
  ];
  for (const section of SECTIONS) {
    for (const name of builtInNames(section)) {
      const { description, options } = (await loadBuiltIn(section, name))!;
      const sourceOf = (key: string): string => {
        const source = OPTION_SOURCES.find(
          (one) => one.section === section && one.id === name && one.option === key,
        );
        return source ? sourcesText(source) : "";
      };
      parts.push(`#### ${section}.${name}`, `${capitalised(KIND_OF[section])}. ${description}`);
      parts.push(table(options, sourceOf));
    }
  }
  return parts.filter((part) => part !== "").join("\n\n");
}

/** Has a last column for variables and flags where a key has some; "" for a schema without options. */
function table(schema: OptionSchema, sourcesOf: (key: string) => string = () => ""): string {
  const options = optionsOf(schema);
  if (options.length === 0) return "";
  const hasSources = options.some(({ key }) => sourcesOf(key) !== "");
  const rows = [
    ["Key", "Value", "Default", "Meaning"],
    ["---", "---", "---", "---"],
    ...options.map((option) => [
      `\`${option.key}\``,
      option.type,
      defaultText(option),
      option.description,
    ]),
  ];
  const lastColumn = ["Also as", "---", ...options.map(({ key }) => sourcesOf(key))];
  return rows
    .map((cells, index) => row(hasSources ? [...cells, lastColumn[index]!] : cells))
    .join("\n");
}

function defaultText(option: OptionDescription): string {
  if (option.default !== undefined) return `\`${JSON.stringify(option.default)}\``;
  return option.isRequired ? "required" : "none";
}

function sourcesText({
  variables,
  flag,
}: {
  readonly variables: readonly string[];
  readonly flag?: keyof typeof FLAG_NAMES;
}): string {
  const names = [...(flag ? [FLAG_NAMES[flag]] : []), ...variables];
  return names.map((name) => `\`${name}\``).join(", ");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
