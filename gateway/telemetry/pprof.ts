// Profiles in pprof's own format (profile.proto), so that `go tool pprof` and every viewer of it reads
// them: the workers' call trees in one file, each sample labelled with its worker.

import { gzipSync } from "node:zlib";
import {
  Function as ProfileFunction,
  Label,
  Line,
  Location,
  Profile,
  Sample,
  StringTable,
  ValueType,
} from "pprof-format";
import type { ProfileKind, ProfileNode } from "./profile.ts";

export type WorkerProfile = { readonly worker: number; readonly nodes: readonly ProfileNode[] };

/** The gzipped file. */
export function encodePprof(
  kind: ProfileKind,
  profiles: readonly WorkerProfile[],
  took: { readonly atMs: number; readonly seconds: number },
): Buffer {
  const strings = new StringTable();
  const places = new Places(strings);
  const key = strings.dedup("worker");
  const samples: Sample[] = [];
  for (const { worker, nodes } of profiles) {
    const label = [new Label({ key, num: worker })];
    nodes.forEach((node, index) => {
      // Waiting is no CPU.
      if ((node.value === 0 && node.count === 0) || node.name === "(idle)") return;
      const value = kind === "cpu" ? [node.count, Math.round(node.value)] : [node.value];
      samples.push(new Sample({ locationId: places.stackOf(nodes, index), value, label }));
    });
  }
  const type = (name: string, unit: string) =>
    new ValueType({ type: strings.dedup(name), unit: strings.dedup(unit) });
  const profile = new Profile({
    sampleType:
      kind === "cpu"
        ? [type("samples", "count"), type("cpu", "nanoseconds")]
        : [type("inuse_space", "bytes")],
    sample: samples,
    location: places.locations,
    function: places.functions,
    stringTable: strings,
    timeNanos: BigInt(took.atMs) * 1_000_000n,
    durationNanos: BigInt(Math.round(took.seconds * 1e9)),
  });
  return gzipSync(profile.encode());
}

/** Functions and locations, each once. */
class Places {
  readonly locations: Location[] = [];
  readonly functions: ProfileFunction[] = [];
  readonly #strings: StringTable;
  readonly #byPlace = new Map<string, number>();

  constructor(strings: StringTable) {
    this.#strings = strings;
  }

  /** Location ids from the leaf to the root, which itself is left out. */
  stackOf(nodes: readonly ProfileNode[], leaf: number): number[] {
    const stack: number[] = [];
    for (let at = leaf; at !== -1; at = nodes[at].parent) {
      if (nodes[at].parent !== -1 || nodes.length === 1) stack.push(this.#idOf(nodes[at]));
    }
    return stack;
  }

  #idOf({ name, file, line }: ProfileNode): number {
    const place = `${name}\n${file}\n${line}`;
    const known = this.#byPlace.get(place);
    if (known !== undefined) return known;
    const id = this.locations.length + 1;
    const [nameId, filename] = [this.#strings.dedup(name), this.#strings.dedup(file)];
    this.functions.push(
      new ProfileFunction({ id, name: nameId, systemName: nameId, filename, startLine: line }),
    );
    this.locations.push(new Location({ id, line: [new Line({ functionId: id, line })] }));
    this.#byPlace.set(place, id);
    return id;
  }
}
