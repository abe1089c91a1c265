/** The reference of `tailgate/plugin` and `tailgate/testing`, from their declarations and doc comments. */

import { readFile } from "node:fs/promises";
import { repositoryPath } from "./document.ts";

/** Exports, after their file, that are listed without their members: other pages describe them, or few need them. */
const SUMMARIZED = /^\.\.\/(?:wire|runtime|filter)\/|AddressedRequest$/;

/** What has no doc comment of Tailgate's. */
const FOREIGN: Readonly<Record<string, string>> = {
  z: "The gateway's copy of zod 4, for the schema of the options.",
};

/** A group of exports in an index file, below a comment such as `// Records.`. */
interface Group {
  readonly title: string;
  readonly exports: readonly Exported[];
}

interface Exported {
  readonly name: string;
  /** The file that declares it, relative to the index file. */
  readonly file: string;
}

interface Member {
  readonly signature: string;
  readonly text: string;
}

interface Declaration extends Member {
  readonly members: readonly Member[];
}

/** The groups of exports that have pages of their own. */
export const HTTP_GROUP = "HTTP requests and who makes them";
export const LINES_GROUP = "Lines of logs";

/**
 * Returns the reference of a module of `src` as Markdown, with headings of that level for its groups: those that
 * `includes` selects by their titles.
 */
export async function moduleReference(
  module: "plugin" | "testing",
  level: number,
  includes: (title: string) => boolean = () => true,
): Promise<string> {
  const index = await readFile(repositoryPath(`src/${module}/index.ts`), "utf8");
  const groups = groupsOf(index).filter(({ title }) => includes(title));
  const sections = groups.map((group) => section(module, group));
  const text = (await Promise.all(sections)).join("\n\n");
  return text.replaceAll(/^##/gm, "#".repeat(level));
}

const GROUP = /^\/\/ (?<title>.+)\.\n(?<body>(?:export [^;]*;\n)+)/gm;
const EXPORT = /^export (?:type )?\{(?<names>[^}]*)\} from "(?<file>[^"]+)";/gm;

function groupsOf(index: string): Group[] {
  return Array.from(index.matchAll(GROUP), ({ groups }) => ({
    title: groups!["title"]!,
    exports: exportsOf(groups!["body"]!),
  }));
}

function exportsOf(statements: string): Exported[] {
  return Array.from(statements.matchAll(EXPORT)).flatMap(({ groups }) => {
    const { names, file } = groups as { names: string; file: string };
    const words = names.split(",").map((name) => name.trim());
    return words.filter((name) => name !== "").map((name) => ({ name, file }));
  });
}

async function section(module: string, { title, exports }: Group): Promise<string> {
  const rows: string[] = [];
  const parts: string[] = [];
  for (const exported of exports) {
    const declared = await declarationOf(module, exported);
    const short = withMembers(declared);
    if (declared.members.length === 0 || short.text.length <= ROW_CHARACTERS_MAX) {
      rows.push(row(short));
    } else parts.push(interfaceSection(exported.name, declared));
  }
  const table =
    rows.length === 0 ? [] : [["| Export | Description |", "| --- | --- |", ...rows].join("\n")];
  return [`## ${title}`, ...table, ...parts].join("\n\n");
}

/** Types whose members take no more text than this are rows of their group's table. */
const ROW_CHARACTERS_MAX = 410;

/** Returns the declaration with its members in its text. */
function withMembers({ signature, text, members }: Declaration): Member {
  const listed = members.map((member) => `\`${member.signature}\`: ${member.text}`);
  return { signature, text: [text, ...listed].join(" ") };
}

function interfaceSection(name: string, { text, members }: Declaration): string {
  const table = ["| Member | Description |", "| --- | --- |", ...members.map(row)];
  return [`### ${name}`, text, table.join("\n")].join("\n\n");
}

function row({ signature, text }: Member): string {
  return `| \`${signature.replaceAll("|", "\\|")}\` | ${text.replaceAll("|", "\\|")} |`;
}

async function declarationOf(module: string, { name, file }: Exported): Promise<Declaration> {
  const foreign = FOREIGN[name];
  if (foreign !== undefined) return { signature: name, text: foreign, members: [] };
  const path = new URL(file.replace(/\.ts$/, ".d.ts"), `file:///dist/src/${module}/`).pathname;
  const source = await readFile(repositoryPath(path.slice(1)), "utf8");
  const pattern = new RegExp(
    String.raw`(?:^/\*\*(?<doc>(?:(?!\*/)[^])*)\*/\n)?^export (?:declare )?(?<kind>interface|class|type|const|function) ${name}\b(?<rest>[^]*?)(?:;$|^\})`,
    "m",
  );
  const { doc, kind, rest } = pattern.exec(source)?.groups ?? {};
  if (kind === undefined) throw new Error(`${path} does not declare ${name}.`);
  if (doc === undefined) throw new Error(`${name} in ${path} has no doc comment.`);
  const hasMembers =
    (kind === "interface" || kind === "class") && !SUMMARIZED.test(`${file} ${name}`);
  const signature = kind === "function" ? functionSignature(`${name}${rest}`) : name;
  const body = hasMembers ? bodyOf(source, `${kind} ${name}`) : "";
  return { signature, text: plainText(doc), members: membersOf(body, name) };
}

/** Returns a signature without type parameters and destructuring. */
function functionSignature(declared: string): string {
  return oneLine(declared)
    .replace(/^(\w+)<.*?>\(/, "$1(")
    .replace(/\{[^}]*\}: RecordInit/, "init: RecordInit")
    .replace(/Given<(\w+)<Schema>>/, "$1")
    .replace(/Definition<Schema>$/, "Definition");
}

/** Returns what stands between the braces of an interface or a class. */
function bodyOf(source: string, head: string): string {
  const start = source.search(new RegExp(String.raw`${head}\b`));
  const from = source.indexOf("{\n", start) + 2;
  return source.slice(from, source.indexOf("\n}", from) + 1);
}

/** A member of a declaration, which the compiler indents by four spaces, with its doc comment. */
const MEMBER =
  /(?:^ {4}\/\*\*(?<doc>(?:(?!\*\/)[^])*)\*\/\n)?^ {4}(?<signature>[\w][^]*?);$(?!\n {5,})/gm;

function membersOf(body: string, name: string): Member[] {
  return Array.from(body.matchAll(MEMBER), ({ groups }) => {
    const signature = oneLine(groups!["signature"]!).replace(/^readonly /, "");
    const doc = groups!["doc"];
    if (doc === undefined) throw new Error(`${name}: ${signature} has no doc comment.`);
    return { signature, text: plainText(doc) };
  });
}

function oneLine(signature: string): string {
  return signature.replaceAll(/\s+/g, " ").trim();
}

/** Returns a doc comment as one line of Markdown. */
function plainText(doc: string): string {
  return doc
    .replaceAll(/^\s*\* ?/gm, "")
    .replaceAll(/\{@link (\S+)\}/g, "`$1`")
    .replaceAll(/@throws (\w+)(?= if)/g, "Throws $1")
    .replaceAll(/@throws (\w+)/g, "Throws $1:")
    .replaceAll(/\s+/g, " ")
    .trim();
}
