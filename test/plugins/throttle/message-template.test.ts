import fc from "fast-check";
import { expect, test } from "vitest";
import { messageTemplate } from "../../../plugins/throttle/message-template.ts";

test.each([
  ["Retry 3 of 5", "Retry * of *"],
  ["job 550e8400-e29b-41d4-a716-446655440000 done", "job * done"],
  ["GET http://10.0.0.5:8080/x took 1.5ms", "GET http://*/x took *"],
  ['user "O\'Brien" not found', "user * not found"],
  ["cannot open 'a b.txt': No such file", "cannot open *: No such file"],
  ["it's the worker's turn", "it's the worker's turn"],
  ['an "open quote', 'an "open quote'],
  ["orchestrator.server started.", "orchestrator.server started."],
  ["at 2025-10-13T09:27:24.339163Z", "at *"],
  ["größer als 7", "größer als *"],
  ["", ""],
])("the template of %j is %j", (message, template) => {
  expect(messageTemplate(message)).toBe(template);
});

test("numbers and quoted texts do not matter, and other words do", () => {
  const number = fc.bigInt({ min: 0n });
  const quoted = fc.string().map((text) => `"${text.replaceAll('"', "").slice(0, 50)}"`);
  fc.assert(
    fc.property(number, number, quoted, quoted, (one, other, text, otherText) => {
      const first = messageTemplate(`step ${one} of ${text} failed`);
      expect(messageTemplate(`step ${other} of ${otherText} failed`)).toBe(first);
      expect(messageTemplate(`step ${one} of ${text} ended`)).not.toBe(first);
    }),
  );
});

test("any text has a template that is no longer, and only the beginning counts", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (message) => {
      const template = messageTemplate(message);
      expect(template.length).toBeLessThanOrEqual(256);
      expect(messageTemplate(message.slice(0, 256))).toBe(template);
    }),
  );
});
