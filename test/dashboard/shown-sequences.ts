import type { Page } from "puppeteer-core";
import type { PanelType } from "../harness/dashboard.ts";

/**
 * Returns the sequences of a panel's rows from top to bottom, gaps as -1, starting at the record `first` or at the top.
 * Scrolls the panel up from its current position.
 */
export function shownSequences(page: Page, type: PanelType, first = 0): Promise<number[]> {
  return page.$eval(
    `[data-type=${type}] .log-list`,
    async (list, wanted) => {
      const frame = (): Promise<number> => new Promise((done) => requestAnimationFrame(done));
      /** By the ordinal of the row in the list, which its id ends with. */
      const byOrdinal = new Map<number, number>();
      const rows = (): HTMLElement[] => [...list.querySelectorAll<HTMLElement>(".row")];
      const isDrawn = (): boolean => {
        const { top } = list.getBoundingClientRect();
        return list.scrollTop === 0 || rows().some((row) => row.getBoundingClientRect().top <= top);
      };
      let isDone = false;
      while (!isDone) {
        isDone = list.scrollTop === 0;
        do await frame();
        while (!isDrawn());
        if (isDone) await frame();
        for (const row of rows()) {
          const sequence = Number(row.dataset["sequence"] ?? -1);
          byOrdinal.set(Number(row.id.split(":")[1]), sequence);
          isDone ||= sequence >= 0 && sequence <= wanted;
        }
        if (!isDone) list.scrollTop -= 0.9 * list.clientHeight;
      }
      const sequences = [...byOrdinal].toSorted(([one], [other]) => one - other);
      const inOrder = sequences.map(([, sequence]) => sequence);
      return inOrder.slice(
        Math.max(
          0,
          inOrder.findIndex((sequence) => sequence >= wanted),
        ),
      );
    },
    first,
  );
}
