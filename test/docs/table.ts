import { marked, type Tokens } from "marked";
import type { Document } from "./document.ts";

/** Returns the rows of the first table after a heading, each as the Markdown of its cells. */
export function tableAfter(document: Document, heading: string): string[][] {
  return findTable(document, heading).rows.map((row) => row.map((cell) => cell.text));
}

/** Returns the header of the first table after a heading. */
export function tableHeaderAfter(document: Document, heading: string): string[] {
  return findTable(document, heading).header.map((cell) => cell.text);
}

function findTable({ path, text }: Document, heading: string): Tokens.Table {
  const tokens = marked.lexer(text);
  const start = tokens.findIndex(
    (token) => token.type === "heading" && (token as Tokens.Heading).text === heading,
  );
  const table = tokens.slice(start + 1).find(({ type }) => type === "table");
  if (start < 0 || table === undefined) throw new Error(`${path} has no table after ${heading}.`);
  return table as Tokens.Table;
}
