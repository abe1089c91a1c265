import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../", import.meta.url);

/** A fenced code block after `<!-- example: NAME -->`. */
const EXAMPLE = /^<!-- example: (?<name>[\w.-]+) -->\n+```\w+\n(?<code>[^]*?)^```$/gm;

const LISTING = /^```text\n([^]*?)^```$/gm;

/** A documentation page whose code is run by tests. */
export class Document {
  readonly text: string;
  readonly #examples: ReadonlyMap<string, string>;

  private constructor(text: string) {
    this.text = text;
    this.#examples = new Map(
      Array.from(text.matchAll(EXAMPLE), ({ groups }) => [groups!["name"]!, groups!["code"]!]),
    );
  }

  /** Reads a page by its path in the repository. */
  static async read(path: string): Promise<Document> {
    return new Document(await readFile(fileURLToPath(new URL(path, ROOT)), "utf8"));
  }

  get exampleNames(): string[] {
    return [...this.#examples.keys()];
  }

  /** The code of an example. */
  example(name: string): string {
    const code = this.#examples.get(name);
    if (code === undefined) throw new Error(`The page has no example ${JSON.stringify(name)}.`);
    return code;
  }

  /** The program output that the page shows. */
  get listings(): string[] {
    return Array.from(this.text.matchAll(LISTING), ([, text]) => text!);
  }

  /** Returns the command if the page contains it verbatim. */
  command(command: string): string {
    if (this.text.includes(`\`${command}\``)) return command;
    throw new Error(`The page has no command ${JSON.stringify(command)}.`);
  }
}
