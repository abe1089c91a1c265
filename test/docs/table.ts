import { marked, type Tokens } from "marked";
import type { Document } from "./document.ts";

/** Returns the rows of the first table after a heading, each as the Markdown of its cells. */
export function tableAfter({ path, text }: Document, heading: string): string[][] {
  const tokens = marked.lexer(text);
  const start = tokens.findIndex(
    (token) => token.type === "heading" && (token as Tokens.Heading).text === heading,
  );
  const table = tokens.slice(start + 1).find(({ type }) => type === "table");
  if (start < 0 || table === undefined) throw new Error(`${path} has no table after ${heading}.`);
  return (table as Tokens.Table).rows.map((row) => row.map((cell) => cell.text));
}
