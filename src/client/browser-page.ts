interface EventSource {
  addEventListener?(type: string, listener: () => void, options: { signal: AbortSignal }): void;
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

/** Calls `onAwake` when the device is online again and when the page becomes visible, until the signal aborts. */
export function watchPage(onAwake: () => void, signal: AbortSignal): void {
  const page = globalThis as Page;
  const onVisibilityChange = (): void => {
    if (!isHidden()) onAwake();
  };
  page.addEventListener?.("online", onAwake, { signal });
  page.document?.addEventListener?.("visibilitychange", onVisibilityChange, { signal });
}

/** Returns the page's URL; undefined outside of a browser. */
export function pageAddress(): string | undefined {
  return (globalThis as Page).location?.href;
}
