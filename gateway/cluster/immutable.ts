// What a running process cannot change is refused, not ignored.

import { ControlError } from "../../admin/api/control.ts";
import type { Config } from "../config/schema.ts";

/** Throws for a change that needs a restart. */
export function checkImmutable(live: Config, next: Config): void {
  const fixed = [
    ["workers", live.workers ?? "auto", next.workers ?? "auto"],
    ["data_dir", live.data_dir ?? "./var", next.data_dir ?? "./var"],
    ["admin.listen", live.admin?.listen ?? "", next.admin?.listen ?? ""],
    ...acceptModes(live, next),
  ] as const;
  for (const [path, from, to] of fixed) {
    if (from !== to) {
      throw new ControlError(
        422,
        "restart_needed",
        `${path} cannot change while the gateway runs (${from} -> ${to}); restart it with the new value.`,
        { path },
      );
    }
  }
}

// A socket that is open stays what it was bound to be.
function acceptModes(live: Config, next: Config): (readonly [string, string, string])[] {
  return (live.listeners ?? []).flatMap(({ name, address, accept = "shared" }) => {
    const same = (next.listeners ?? []).find((listener) => listener.address === address);
    return same === undefined
      ? []
      : [[`listeners.${name}.accept`, accept, same.accept ?? "shared"]];
  });
}
