// Counters as rows of numbers in a few large typed arrays: counting is one addition, a snapshot is
// a copy of memory, and ten thousand routes are no ten thousand objects to walk. A row belongs to
// one name from `take` until `retain` forgets it.

const ROWS_PER_SLAB = 256;

/** Where a row lives: `slab[base]` to `slab[base + stride - 1]`. */
export type Row = { readonly slab: Float64Array; readonly base: number };

/** A copy of the rows in use: `names[i]` owns `rows[i * stride, (i + 1) * stride)`. */
export type RowsSnapshot = { readonly names: readonly string[]; readonly rows: Float64Array };

/** Rows of `stride` numbers by name. */
export class RowTable {
  readonly #stride: number;
  readonly #rows = new Map<string, Row>();
  readonly #free: Row[] = [];
  // Rows freed by the last `retain`: requests that began before may still count there, so they are
  // not given to another name before the next one.
  #resting: Row[] = [];

  constructor(stride: number) {
    this.#stride = stride;
  }

  /** The row of a name: all zero when it is new. */
  take(name: string): Row {
    let row = this.#rows.get(name);
    if (row === undefined) {
      if (this.#free.length === 0) this.#grow();
      row = this.#free.pop() as Row;
      row.slab.fill(0, row.base, row.base + this.#stride);
      this.#rows.set(name, row);
    }
    return row;
  }

  /** Forgets every name for which `isKept` is false; returns the forgotten ones. */
  retain(isKept: (name: string) => boolean): string[] {
    const forgotten: string[] = [];
    for (const row of this.#resting) this.#free.push(row);
    this.#resting = [];
    for (const [name, row] of this.#rows) {
      if (isKept(name)) continue;
      this.#rows.delete(name);
      this.#resting.push(row);
      forgotten.push(name);
    }
    return forgotten;
  }

  /** Copies the rows that have anything but zeros in them. */
  snapshot(): RowsSnapshot {
    const stride = this.#stride;
    const names: string[] = [];
    const rows = new Float64Array(this.#rows.size * stride);
    for (const [name, { slab, base }] of this.#rows) {
      let isUsed = false;
      for (let i = base; i < base + stride && !isUsed; i++) isUsed = slab[i] !== 0;
      if (!isUsed) continue;
      rows.set(slab.subarray(base, base + stride), names.length * stride);
      names.push(name);
    }
    return { names, rows: rows.slice(0, names.length * stride) };
  }

  #grow(): void {
    const slab = new Float64Array(ROWS_PER_SLAB * this.#stride);
    for (let i = ROWS_PER_SLAB - 1; i >= 0; i--) this.#free.push({ slab, base: i * this.#stride });
  }
}

/** Adds one row to another, both of one layout. */
export type AddRow = (into: Float64Array, at: number, from: Float64Array, fromAt: number) => void;

/** Sums snapshots of one layout, name by name. */
export function mergeRows(
  snapshots: readonly RowsSnapshot[],
  stride: number,
  add: AddRow,
): RowsSnapshot {
  const places = new Map<string, number>();
  for (const { names } of snapshots) {
    for (const name of names) if (!places.has(name)) places.set(name, places.size);
  }
  const rows = new Float64Array(places.size * stride);
  for (const snapshot of snapshots) {
    for (const [i, name] of snapshot.names.entries()) {
      add(rows, (places.get(name) as number) * stride, snapshot.rows, i * stride);
    }
  }
  return { names: [...places.keys()], rows };
}

/** A snapshot with only the names that are kept. */
export function filterRows(
  snapshot: RowsSnapshot,
  stride: number,
  isKept: (name: string) => boolean,
): RowsSnapshot {
  const kept = [...snapshot.names.keys()].filter((i) => isKept(snapshot.names[i]));
  const rows = new Float64Array(kept.length * stride);
  for (const [at, i] of kept.entries()) {
    rows.set(snapshot.rows.subarray(i * stride, (i + 1) * stride), at * stride);
  }
  return { names: kept.map((i) => snapshot.names[i]), rows };
}

/** True for a value in the form of a snapshot of this stride; it came from another process. */
export function isRowsSnapshot(value: unknown, stride: number): value is RowsSnapshot {
  if (typeof value !== "object" || value === null) return false;
  if (!("names" in value) || !("rows" in value)) return false;
  const { names, rows } = value;
  return (
    Array.isArray(names) &&
    names.every((name) => typeof name === "string") &&
    rows instanceof Float64Array &&
    rows.length === names.length * stride
  );
}
