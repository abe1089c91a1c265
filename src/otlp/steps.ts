/** Work that can be put off between two steps, so that a large piece of it does not hold up everything else. */
export type Steps<Result> = Generator<undefined, Result>;

/** After so many bytes of input there is a step. */
export const STEP_BYTES = 64 << 10;

/** Does the work in one go if it has no more than so many steps; else undefined, and it is ended where it is. */
export function within<Result>(steps: Steps<Result>, stepsMax: number): Result | undefined {
  for (let count = 0; count <= stepsMax; count++) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
  steps.return(undefined as never);
  return undefined;
}

/** Does the work in one go. */
export function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
