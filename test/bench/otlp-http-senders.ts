/** The clients of the OTLP benchmark, in a process of their own. */

import { quantile } from "./figure.ts";
import { answerQuestions } from "./helper-process.ts";
import { requestOf, Sender } from "./otlp-connection.ts";
import { otlpRequest, REQUEST_RECORDS } from "./otlp-request.ts";

/** Sends this many requests to a port, spread over the connections; answered with {@link SenderAnswer}. */
export interface SenderQuestion {
  readonly port: number;
  readonly format: "protobuf" | "json";
  readonly requests: number;
  /** Records per request; as many as an exporter usually sends if absent. */
  readonly records?: number;
  /** For a gateway with authentication. */
  readonly token?: string;
}

/** The duration of the requests, once all were accepted. */
export interface SenderAnswer {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const CONNECTIONS = 8;

const bodiesByRecords = new Map<number, ReturnType<typeof otlpRequest>>();
const sendersByPort = new Map<number, Sender[]>();

answerQuestions(async (question: SenderQuestion) => {
  const { port, format, requests, records = REQUEST_RECORDS, token } = question;
  const senders = sendersOf(port);
  const request = requestOf(port, bodiesOf(records)[format], format, { token });
  let left = requests;
  const waitsMs: number[] = [];
  const sendAll = async (sender: Sender): Promise<void> => {
    while (left-- > 0) {
      const startMs = performance.now();
      await sender.send(request);
      waitsMs.push(performance.now() - startMs);
    }
  };
  await Promise.all(senders.map(sendAll));
  const sorted = waitsMs.toSorted((one, other) => one - other);
  return { p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99) } satisfies SenderAnswer;
});

function sendersOf(port: number): Sender[] {
  let senders = sendersByPort.get(port);
  if (!senders) {
    senders = Array.from({ length: CONNECTIONS }, () => new Sender(port));
    sendersByPort.set(port, senders);
  }
  return senders;
}

function bodiesOf(records: number): ReturnType<typeof otlpRequest> {
  const bodies = bodiesByRecords.get(records) ?? otlpRequest(records);
  bodiesByRecords.set(records, bodies);
  return bodies;
}
