import { createContext, useContext, useMemo } from "react";
import { searchedTexts } from "../search/query.ts";

/** Finds what is searched for; undefined where nothing is. */
export const SearchedPattern = createContext<RegExp | undefined>(undefined);

export function useSearchedPattern(q: string): RegExp | undefined {
  return useMemo(() => {
    const texts = searchedTexts(q).sort((one, other) => other.length - one.length);
    if (texts.length === 0) return undefined;
    const escaped = texts.map((text) => text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
    return new RegExp(`(${escaped.join("|")})`, "gi");
  }, [q]);
}

/** A text in which what is searched for is marked. */
export function Marked({ text }: { readonly text: string }) {
  const pattern = useContext(SearchedPattern);
  if (!pattern) return text;
  // With a group, split keeps what it splits at: each second part is a match.
  return text
    .split(pattern)
    .map((part, index) => (index % 2 === 1 ? <mark key={index}>{part}</mark> : part));
}
