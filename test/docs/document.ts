import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import GithubSlugger from "github-slugger";
import { marked, type Token, type Tokens } from "marked";

const ROOT = new URL("../../", import.meta.url);

/** A fenced code block after `<!-- example: NAME -->`. */
const EXAMPLE = /^<!-- example: (?<name>[\w.-]+) -->\n+```\w+\n(?<code>[^]*?)^```$/gm;

/** The folders that contain pages; of those in `examples`, the README of each. */
const PAGE_FOLDERS = ["docs", "examples"];

/** A link or an image of a page. */
interface Reference {
  /** As in the page, such as `../concepts.md#sequence`. */
  readonly target: string;
  readonly isImage: boolean;
}

/** A documentation page whose code is run by tests. */
export class Document {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
  readonly #tokens: readonly Token[];
  readonly #examples: ReadonlyMap<string, string>;

  private constructor(path: string, text: string) {
    this.path = path;
    this.text = text;
    this.#tokens = marked.lexer(text);
    this.#examples = new Map(
      Array.from(text.matchAll(EXAMPLE), ({ groups }) => [groups!["name"]!, groups!["code"]!]),
    );
  }

  /** Reads a page by its path in the repository. */
  static async read(path: string): Promise<Document> {
    return new Document(path, await readFile(new URL(path, ROOT), "utf8"));
  }

  /** Reads all pages of the repository. */
  static async all(): Promise<Document[]> {
    const topLevel = (await readdir(ROOT)).filter((name) => name.endsWith(".md"));
    const nested = await Promise.all(
      PAGE_FOLDERS.map(async (folder) => {
        const names = await readdir(new URL(folder, ROOT), { recursive: true });
        const pages = names.filter((name) => name.endsWith(".md"));
        return pages.map((name) => `${folder}/${name}`);
      }),
    );
    const paths = [...topLevel, ...nested.flat()].filter((path) => !path.includes("node_modules"));
    return Promise.all(paths.toSorted().map((path) => Document.read(path)));
  }

  get exampleNames(): string[] {
    return [...this.#examples.keys()];
  }

  /** The code of an example. */
  example(name: string): string {
    const code = this.#examples.get(name);
    if (code === undefined) {
      throw new Error(`${this.path} has no example ${JSON.stringify(name)}.`);
    }
    return code;
  }

  /** All code blocks, with and without a name. */
  get codeBlocks(): Tokens.Code[] {
    return this.#all("code").map((token) => token as Tokens.Code);
  }

  /** The program output that the page shows. */
  get listings(): string[] {
    const shown = this.codeBlocks.filter(({ lang }) => lang === "text");
    return shown.map(({ text }) => `${text}\n`);
  }

  /** What stands in backticks within sentences and tables. */
  get inlineCode(): string[] {
    return this.#all("codespan").map((token) => (token as Tokens.Codespan).text);
  }

  get references(): Reference[] {
    return [...this.#all("link"), ...this.#all("image")].map((token) => ({
      target: (token as Tokens.Link).href,
      isImage: token.type === "image",
    }));
  }

  /** The fragments under which GitHub shows the headings. */
  get anchors(): string[] {
    const slugger = new GithubSlugger();
    return this.#all("heading").map((token) =>
      slugger.slug((token as Tokens.Heading).text.replaceAll("`", "")),
    );
  }

  /** Returns the command if the page contains it verbatim. */
  command(command: string): string {
    if (this.inlineCode.includes(command) || this.text.includes(`\`${command}\``)) return command;
    throw new Error(`${this.path} has no command ${JSON.stringify(command)}.`);
  }

  #all(type: string): Token[] {
    const found: Token[] = [];
    void marked.walkTokens([...this.#tokens], (token) => {
      if (token.type === type) found.push(token);
    });
    return found;
  }
}

/** Returns the absolute path of a file of the repository. */
export function repositoryPath(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}
