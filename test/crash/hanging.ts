/**
 * Turns of the gateway's event loop, one per request, within which a response that does not wait
 * for the disk arrives.
 */
const TURNS = 500;

/** Requests, the last of which has not been answered yet. */
export interface Hanging<T> {
  readonly requests: readonly Promise<T>[];
  answered: number;
}

/** Sends requests one at a time until one is not answered because the disk is slow. */
export async function untilOneHangs<T>(
  url: string,
  send: (index: number) => Promise<T>,
): Promise<Hanging<T>> {
  const requests: Promise<T>[] = [];
  const hanging: Hanging<T> = { requests, answered: 0 };
  while (hanging.answered === requests.length) {
    requests.push(send(requests.length).finally(() => hanging.answered++));
    for (let turn = 0; turn < TURNS && hanging.answered < requests.length; turn++) {
      await fetch(`${url}/healthz`);
    }
  }
  return hanging;
}
