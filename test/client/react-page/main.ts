/** The page of the test: what the hook gives, as text. */

import { createElement as element, StrictMode, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { useLogStream, type LogStreamView } from "tailgate/react";

declare global {
  interface Window {
    view: LogStreamView;
    renders: number;
    /** The most renders that one frame has had. */
    rendersOfFrame: number;
    mount(options: {
      url: string;
      token?: string;
      maxEntries?: number;
      filter?: object;
      start?: object;
    }): void;
    unmount(): void;
  }
}

let rendersNow = 0;

function Page(options: Parameters<typeof useLogStream>[0]): ReactNode {
  const view = useLogStream(options);
  window.view = view;
  window.renders++;
  if (++rendersNow > window.rendersOfFrame) window.rendersOfFrame = rendersNow;
  return view.entries.map(({ sequence, envelope }) =>
    element("p", { key: sequence }, envelope.data.message),
  );
}

function frame(): void {
  rendersNow = 0;
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

const root = createRoot(document.querySelector("main")!);
window.renders = 0;
window.rendersOfFrame = 0;
window.mount = (options) =>
  root.render(element(StrictMode, undefined, element(Page, { start: { since: 0 }, ...options })));
window.unmount = () => root.render(undefined);
