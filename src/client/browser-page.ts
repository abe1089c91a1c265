interface EventSource {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

/** What a browser's global object has; all of it is absent in Node. */
interface Page extends EventSource {
  readonly document?: EventSource & { readonly visibilityState?: string };
  readonly location?: { readonly href?: string };
}

/** True on a page in a hidden tab or a minimized window. */
export function isHidden(): boolean {
  return (globalThis as Page).document?.visibilityState === "hidden";
}

/**
 * Calls `onAwake` when the device is online again and when the page becomes visible. Returns the function that stops
 * watching.
 */
export function watchPage(onAwake: () => void): () => void {
  const page = globalThis as Page;
  const onVisibilityChange = (): void => {
    if (page.document?.visibilityState === "visible") onAwake();
  };
  page.addEventListener?.("online", onAwake);
  page.document?.addEventListener?.("visibilitychange", onVisibilityChange);
  return () => {
    page.removeEventListener?.("online", onAwake);
    page.document?.removeEventListener?.("visibilitychange", onVisibilityChange);
  };
}

/** Returns the page's URL without its credentials, which the browser sends by itself; undefined outside of a browser. */
export function pageAddress(): string | undefined {
  return (globalThis as Page).location?.href?.replace(/^([a-z]+:\/\/)[^/?#]*@/, "$1");
}
