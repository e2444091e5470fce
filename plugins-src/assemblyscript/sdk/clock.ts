// The time of the call. It stands still while the call runs, so that it measures nothing.

import { clockTimeGet } from "./host";

/** Whole seconds since 1970. */
export function nowS(): i64 {
  const at = memory.data(8);
  clockTimeGet(0, 0, at);
  return <i64>(load<u64>(at) / 1_000_000_000);
}
