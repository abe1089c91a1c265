/** Turns of the gateway's event loop, a request each, in which an answer comes that does not wait for the disk. */
const TURNS = 500;

/** Requests of which the last one is not answered yet. */
export interface Hanging<T> {
  readonly requests: readonly Promise<T>[];
  answered: number;
}

/** Sends requests one after the other until one is not answered, because the disk takes its time. */
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
