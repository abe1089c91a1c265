import { useSyncExternalStore } from "react";
import { TEXTS } from "../texts.ts";
import type { Together } from "./correlation.ts";

/** Says that the panels show one thing, and ends that. */
export function TogetherBar({ together }: { readonly together: Together }) {
  const subject = useSyncExternalStore(together.subscribe, together.current);
  if (!subject) return null;
  return (
    <div className="together-bar" role="status">
      <span>{TEXTS.together.bar(subject.name)}</span>
      <button type="button" onClick={() => together.leave()}>
        {TEXTS.together.leave}
      </button>
    </div>
  );
}
