import { useEffect, useRef } from "react";
import { MESSAGE } from "./columns.ts";
import { TEXTS } from "../texts.ts";
import type { Columns } from "./use-columns.ts";

/** Which columns are shown; the message always is. */
export function ColumnMenu({ columns }: { readonly columns: Columns }) {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: PointerEvent): void => {
      if (!menu.current?.contains(target as Node)) menu.current?.removeAttribute("open");
    };
    document.addEventListener("pointerdown", close);
    return () => document.removeEventListener("pointerdown", close);
  }, []);
  return (
    <details
      ref={menu}
      className="menu"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !menu.current?.open) return;
        event.stopPropagation();
        menu.current.open = false;
        menu.current.querySelector("summary")?.focus();
      }}
    >
      <summary>{TEXTS.columns.menu}</summary>
      <div className="menu-items">
        {columns.all
          .filter(({ id }) => id !== MESSAGE)
          .map((column) => (
            <label key={column.id}>
              <input
                type="checkbox"
                checked={!columns.isHidden(column)}
                onChange={({ target }) => columns.setHidden(column, !target.checked)}
              />
              {TEXTS.columns[column.id]}
            </label>
          ))}
      </div>
    </details>
  );
}
