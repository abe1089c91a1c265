import type { PanelStore } from "./panel-store.ts";
import { TEXTS } from "../texts.ts";

/** What is above the first record: always one line, so that it moves nothing. */
export function ListTop({ store }: { readonly store: PanelStore }) {
  return (
    <div className="list-top" role="row">
      <div role="gridcell">
        <TopText store={store} />
      </div>
    </div>
  );
}

function TopText({ store }: { readonly store: PanelStore }) {
  if (store.trouble !== "") return TEXTS.list.trouble(store.trouble);
  if (store.isCleared) {
    return (
      <>
        {TEXTS.list.cleared}{" "}
        <button type="button" onClick={() => store.showCleared()}>
          {TEXTS.list.showCleared}
        </button>
      </>
    );
  }
  if (store.isLoadingOlder) return TEXTS.list.loading;
  if (store.rows.length === 0) return TEXTS.list.empty;
  if (!store.isAtBeginning) return "";
  if (store.hasStart) return TEXTS.list.start;
  return store.filter.q ? TEXTS.list.noOlder : TEXTS.list.beginning;
}
