// The primary's view of what all workers counted. A counter must never go down while its name is in
// the configuration: what a dead worker had counted stays in a base that the living are added to.

import { LISTENER_ROW, UPSTREAM_ROW, mergeSnapshots, retainLive } from "./metrics.ts";
import type { LiveNames, MetricsSnapshot } from "./metrics.ts";
import type { RowsSnapshot } from "./rows.ts";

/** Counters of living and dead workers. */
export class FleetMetrics {
  #dead: MetricsSnapshot = mergeSnapshots([]);
  readonly #living = new Map<number, MetricsSnapshot>();

  /** Takes a worker's latest snapshot in place of the one before. */
  update(workerId: number, snapshot: MetricsSnapshot): void {
    this.#living.set(workerId, snapshot);
  }

  /** A worker is gone: what it last reported is kept, but for what was only true while it lived. */
  remove(workerId: number): void {
    const last = this.#living.get(workerId);
    if (last === undefined) return;
    this.#living.delete(workerId);
    this.#dead = mergeSnapshots([this.#dead, withoutGauges(last)]);
  }

  /** Forgets names that are not in the configuration any more; workers do so by themselves. */
  retain(live: LiveNames): void {
    this.#dead = retainLive(this.#dead, live);
    for (const [id, snapshot] of this.#living) this.#living.set(id, retainLive(snapshot, live));
  }

  /** The sum of all. */
  merged(): MetricsSnapshot {
    return mergeSnapshots([this.#dead, ...this.#living.values()]);
  }
}

function withoutGauges(snapshot: MetricsSnapshot): MetricsSnapshot {
  return {
    ...snapshot,
    upstreams: zeroColumn(snapshot.upstreams, UPSTREAM_ROW.stride, UPSTREAM_ROW.active),
    listeners: zeroColumn(snapshot.listeners, LISTENER_ROW.stride, LISTENER_ROW.open),
    processes: [],
  };
}

function zeroColumn(snapshot: RowsSnapshot, stride: number, column: number): RowsSnapshot {
  const rows = snapshot.rows.slice();
  for (let i = column; i < rows.length; i += stride) rows[i] = 0;
  return { names: snapshot.names, rows };
}
