// The conversation of a client script with the test that runs it: lines of JSON on standard output, and
// an empty line on standard input for each next step.
import { createInterface } from "node:readline/promises";

// A precompiled contract that returns the SHA-256 of its input, and one that returns its input.
export const SHA256 = "0x0000000000000000000000000000000000000002";
export const IDENTITY = "0x0000000000000000000000000000000000000004";

/** Distinct inputs of calls that a library may send as one batch. */
export const MEMBERS = Array.from({ length: 20 }, (_, n) => `0x${(n + 1).toString(16).padStart(4, "0")}`);

export const say = (observation) => console.log(JSON.stringify(observation));

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Waits for the test. */
export const next = () => lines.next();

/** What a call fails with, as `describe` sees it. */
export const failure = async (call, describe) => {
  const answer = await call.catch((error) => ({ error }));
  if (answer?.error === undefined) throw new Error(`not refused: ${JSON.stringify(answer)}`);
  return describe(answer.error);
};
