interface EventSource {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

/** Whether this is a page that nobody sees. */
export function isHidden(): boolean {
  return (globalThis as Page).document?.visibilityState === "hidden";
}

interface Page extends EventSource {
  readonly document?: EventSource & { readonly visibilityState?: string };
}

/** Calls `awake` when the device is online again, and when somebody looks at the page again; answers what ends that. */
export function watchPage(awake: () => void): () => void {
  const page = globalThis as Page;
  const looked = (): void => {
    if (page.document?.visibilityState === "visible") awake();
  };
  page.addEventListener?.("online", awake);
  page.document?.addEventListener?.("visibilitychange", looked);
  return () => {
    page.removeEventListener?.("online", awake);
    page.document?.removeEventListener?.("visibilitychange", looked);
  };
}

/** Returns the page's address without user and password, which the browser sends by itself; undefined outside of a browser. */
export function pageAddress(): string | undefined {
  const href = (globalThis as { location?: { href?: string } }).location?.href;
  return href?.replace(/^([a-z]+:\/\/)[^/?#]*@/, "$1");
}
