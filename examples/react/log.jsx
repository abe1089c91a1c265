import { useLogStream } from "tailgate/react";

export function Log({ url }) {
  const { entries, status, isPaused, waiting, pause, resume } = useLogStream({
    url,
    start: { replay: 100 },
    maxEntries: 500,
  });
  return (
    <section>
      <h2>
        {status.state} {status.reason}
      </h2>
      <button onClick={isPaused ? resume : pause}>
        {isPaused ? `Resume (${waiting} new)` : "Pause"}
      </button>
      {entries.map(({ sequence, envelope }) => (
        <p key={sequence}>{envelope.data.message}</p>
      ))}
    </section>
  );
}
