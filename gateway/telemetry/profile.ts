// Profiles of this process by V8's own samplers, as a flat call tree: small enough for the channel to
// the primary, which merges the workers' trees into one file. A profile costs only while it is taken.

import { Session } from "node:inspector/promises";
import { setTimeout as wait } from "node:timers/promises";

export type ProfileKind = "cpu" | "heap";

/** A place in the call tree; `parent` is an index, -1 for the root's children. */
export type ProfileNode = {
  readonly parent: number;
  readonly name: string;
  readonly file: string;
  /** 1-based; 0 when unknown. */
  readonly line: number;
  /** Samples that ended here; 0 for heap profiles. */
  readonly count: number;
  /** Nanoseconds of CPU, or bytes that were allocated meanwhile and are still alive. */
  readonly value: number;
};

const HEAP_INTERVAL_BYTES = 16_384;
const CPU_INTERVAL_US = 1_000;

type Frame = { functionName: string; url: string; lineNumber: number };

/** Samples this process for so many seconds. One at a time: a second one is refused by V8. */
export async function takeProfile(kind: ProfileKind, seconds: number): Promise<ProfileNode[]> {
  const session = new Session();
  session.connect();
  try {
    return kind === "cpu" ? await takeCpu(session, seconds) : await takeHeap(session, seconds);
  } finally {
    session.disconnect();
  }
}

async function takeCpu(session: Session, seconds: number): Promise<ProfileNode[]> {
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: CPU_INTERVAL_US });
  await session.post("Profiler.start");
  await wait(seconds * 1000);
  const { profile } = await session.post("Profiler.stop");
  const ids = new Map(profile.nodes.map(({ id }, index) => [id, index]));
  const parents = new Map<number, number>();
  profile.nodes.forEach(({ children = [] }, index) => {
    for (const child of children) parents.set(child, index);
  });
  const nanos = new Float64Array(profile.nodes.length);
  profile.samples?.forEach((id, i) => {
    // A delta is the time since the sample before: it belongs to what ran then.
    const at = ids.get(id) ?? 0;
    nanos[at] += Math.max(0, profile.timeDeltas?.[i + 1] ?? 0) * 1000;
  });
  return profile.nodes.map((node, index) => ({
    ...frameOf(node.callFrame),
    parent: parents.get(node.id) ?? -1,
    count: node.hitCount ?? 0,
    value: nanos[index],
  }));
}

async function takeHeap(session: Session, seconds: number): Promise<ProfileNode[]> {
  const samplingInterval = HEAP_INTERVAL_BYTES;
  await session.post("HeapProfiler.startSampling", { samplingInterval });
  await wait(seconds * 1000);
  const { profile } = await session.post("HeapProfiler.stopSampling");
  const nodes: ProfileNode[] = [];
  const open = [{ node: profile.head, parent: -1 }];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const index = nodes.length;
    const { callFrame, selfSize, children } = at.node;
    nodes.push({ ...frameOf(callFrame), parent: at.parent, count: 0, value: selfSize });
    for (const node of children) open.push({ node, parent: index });
  }
  return nodes;
}

function frameOf({ functionName, url, lineNumber }: Frame) {
  return { name: functionName || "(anonymous)", file: url, line: lineNumber + 1 };
}
