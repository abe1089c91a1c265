import { useEffect, useRef, useSyncExternalStore } from "react";
import { ENVELOPE_TYPES, type EnvelopeType } from "../../wire/envelope.ts";
import { InStep } from "./scroll-sync.ts";
import type { Selection } from "../details/selection.ts";
import type { Session } from "../session/session.ts";

/** What a user does to a panel; the scrolling that the page does itself comes without it. */
const ACTIONS = ["pointerdown", "wheel", "keydown", "touchstart"] as const;

/** Keeps the panels at the same moment while they show one thing: the one that the user moves leads the other. */
export function useInStep({ panels, together }: Session, selection: Selection | undefined): void {
  const isOn = useSyncExternalStore(together.subscribe, together.current) !== undefined;
  const steps = useRef<InStep>(undefined);

  useEffect(() => {
    if (!isOn) return undefined;
    const inStep = new InStep(panels);
    steps.current = inStep;
    let leader: EnvelopeType | undefined;
    const act = ({ target }: Event): void => {
      leader = laneOf(target) ?? leader;
    };
    const scroll = ({ target }: Event): void => {
      if (leader !== undefined && laneOf(target) === leader) inStep.followLeader(leader);
    };
    const passive = { capture: true, passive: true };
    for (const action of ACTIONS) document.addEventListener(action, act, passive);
    document.addEventListener("scroll", scroll, passive);
    return () => {
      for (const action of ACTIONS) document.removeEventListener(action, act, passive);
      document.removeEventListener("scroll", scroll, passive);
      steps.current = undefined;
    };
  }, [isOn, panels]);

  useEffect(() => {
    if (selection) steps.current?.align(otherThan(selection.lane), selection.entry.sequence);
  }, [selection]);
}

function laneOf(target: EventTarget | null): EnvelopeType | undefined {
  const panel = target instanceof Element ? target.closest<HTMLElement>("[data-lane]") : null;
  return ENVELOPE_TYPES.find((lane) => lane === panel?.dataset["lane"]);
}

function otherThan(lane: EnvelopeType): EnvelopeType {
  return ENVELOPE_TYPES.find((one) => one !== lane)!;
}
