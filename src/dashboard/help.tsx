import { Modal } from "./modal.tsx";
import { TEXTS } from "./texts.ts";

/** The keys, and the filter language in short. */
export function Help({ onClose }: { readonly onClose: () => void }) {
  return (
    <Modal title={TEXTS.help.title} onClose={onClose}>
      <div className="help">
        <section>
          <h3>{TEXTS.help.keys}</h3>
          <dl>
            {TEXTS.help.shortcuts.map(({ keys, does }) => (
              <div key={does}>
                <dt>
                  {keys.map((key) => (
                    <kbd key={key}>{key}</kbd>
                  ))}
                </dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section>
          <h3>{TEXTS.help.language}</h3>
          <dl>
            {TEXTS.help.terms.map(({ term, finds }) => (
              <div key={term}>
                <dt>
                  <code>{term}</code>
                </dt>
                <dd>{finds}</dd>
              </div>
            ))}
          </dl>
        </section>
      </div>
    </Modal>
  );
}
