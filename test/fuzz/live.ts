// Fuzzing of a gateway that lives, over real sockets. A round runs lanes side by side, each with a
// gateway of its own in this process and one client at a time, so that what reaches an origin is
// known to be of that client. Afterwards everything must have been given back.

import net from "node:net";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";
import v8 from "node:v8";
import { Exchange } from "../../gateway/exchange.ts";
import { H1Connection } from "../../gateway/http/h1/connection.ts";
import { H2Stream } from "../../gateway/http/h2/stream.ts";
import { LISTENER_ROW, UPSTREAM_ROW } from "../../gateway/telemetry/metrics.ts";
import type { RowsSnapshot } from "../../gateway/telemetry/rows.ts";
import { OriginConnection } from "../../gateway/upstream/origin-connection.ts";
import { H2OriginStream } from "../../gateway/upstream/origin-stream.ts";
import { Chance } from "../support/chance.ts";
import type { Edge } from "../support/edge.ts";
import { until } from "../support/origin-user.ts";
import { Finding } from "./fuzzing.ts";
import type { Counts, Fuzzer } from "./fuzzing.ts";

const LANES = 8;
const CASES_PER_LANE = 100;
const CASE_MS_MAX = 15_000;
const GIVEN_BACK_MS_MAX = 4_000;
/** Rounds after which everything is compiled and cached that will be. */
const WARM_ROUNDS = 3;
const HEAP_GROWTH_BYTES_MAX = 16 * 1024 * 1024;
/** Of the process: what libraries hold, and what the allocator does not give back. */
const RESIDENT_GROWTH_BYTES_MAX = 192 * 1024 * 1024;
/**
 * What must be gone when all clients are, and when the gateway is. Sessions of HTTP/2 are not counted:
 * node:http2 holds on to a few whose clients vanished; the memory's bound would show more of them.
 */
const OF_CLIENTS = [H1Connection, H2Stream, Exchange];
const OF_ORIGINS = [OriginConnection, H2OriginStream];

/** One client after another against one gateway. */
export type Lane = {
  readonly edge: Edge;
  /** What the last client or its origin said, for findings. */
  readonly input: string;
  /** One client from its first byte to its last; throws what it finds. */
  run(chance: Chance): Promise<void>;
};

export type OpenLane = (
  t: TestContext,
  chance: Chance,
  count: (name: string) => void,
) => Promise<Lane>;

export function liveFuzzer(name: string, open: OpenLane): Fuzzer {
  const memory = new MemoryWatch();
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      const counts: Record<string, number> = { inputs: 0 };
      const count = (name: string) => void (counts[name] = (counts[name] ?? 0) + 1);
      const before = countHandles();
      const scope = new Scope();
      try {
        const lanes = Array.from({ length: LANES }, () =>
          runLane(open, { scope, chance: new Chance(chance.seed()), deadlineMs, count }),
        );
        const ends = await Promise.allSettled(lanes);
        for (const end of ends) if (end.status === "rejected") throw end.reason;
        await mustBeBack("with all clients gone", null, () => countObjects(OF_CLIENTS));
      } finally {
        scope.close();
      }
      await mustBeBack("with the gateway closed", before, countHandles);
      await mustBeBack("with the gateway closed", null, () => countObjects(OF_ORIGINS));
      memory.look();
      return counts;
    },
  };
}

type LaneOptions = {
  readonly scope: Scope;
  readonly chance: Chance;
  readonly deadlineMs: number;
  readonly count: (name: string) => void;
};

async function runLane(open: OpenLane, options: LaneOptions): Promise<void> {
  const { scope, chance, deadlineMs, count } = options;
  const lane = await open(scope.asTest(), chance, count);
  for (let i = 0; i < CASES_PER_LANE && performance.now() < deadlineMs; i++) {
    count("inputs");
    try {
      await withinTime(runCase(lane, new Chance(chance.seed())));
    } catch (error) {
      throw new Finding((error as Error).message, lane.input);
    }
  }
}

async function runCase(lane: Lane, chance: Chance): Promise<void> {
  const { edge } = lane;
  await lane.run(chance);
  await until(() => edge.host.connectionCount === 0, "the end of all connections");
  await until(() => gauges(edge) === "0 open, 0 active", `metrics of 0, not ${gauges(edge)}`);
  const failure = edge.logLines.find((line) => line.includes("a request failed"));
  if (failure !== undefined) throw new Error(`an internal error: ${failure}`);
  // They are the test's own, and would be taken for a leak.
  edge.logLines.length = 0;
  edge.finished.length = 0;
}

/** What the metrics say is under way. */
function gauges(edge: Edge): string {
  const { listeners, upstreams } = edge.metrics.snapshot();
  const sum = ({ rows }: RowsSnapshot, at: number, stride: number) =>
    rows.reduce((all, value, i) => (i % stride === at ? all + value : all), 0);
  const open = sum(listeners, LISTENER_ROW.open, LISTENER_ROW.stride);
  return `${open} open, ${sum(upstreams, UPSTREAM_ROW.active, UPSTREAM_ROW.stride)} active`;
}

async function withinTime(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = new Error(`it hangs: not over within ${CASE_MS_MAX} ms`);
    timer = setTimeout(() => reject(why), CASE_MS_MAX);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a gateway started outside of a test asks of its test: to be told of the end. */
class Scope {
  readonly #ends: (() => void)[] = [];

  asTest(): TestContext {
    const after = (end: () => void) => void this.#ends.push(end);
    return { after } as unknown as TestContext;
  }

  close(): void {
    for (const end of this.#ends.splice(0).reverse()) end();
  }
}

// What must be given back.

type Stock = Readonly<Record<string, number>>;

/** Handles of the kinds that a gateway opens. */
function countHandles(): Stock {
  const handles: Record<string, number> = { TCPSocketWrap: 0, TCPServerWrap: 0, Timeout: 0 };
  for (const kind of process.getActiveResourcesInfo()) if (kind in handles) handles[kind]++;
  return handles;
}

/** What exists of these classes after a garbage collection, which takes a tenth of a second each. */
function countObjects(kinds: readonly (new (...parts: never[]) => object)[]): Stock {
  return Object.fromEntries(
    kinds.map((kind) => [kind.name, v8.queryObjects(kind, { format: "count" })]),
  );
}

// Handles close some turns after they were told to, and objects go after their handles.
async function mustBeBack(when: string, before: Stock | null, count: () => Stock): Promise<void> {
  const endMs = performance.now() + GIVEN_BACK_MS_MAX;
  let grown: string[] = [];
  do {
    const now = count();
    grown = Object.keys(now).filter((kind) => now[kind] > (before?.[kind] ?? 0));
    if (grown.length === 0) return;
    grown = grown.map((kind) => `${kind} from ${before?.[kind] ?? 0} to ${now[kind]}`);
    await turns(50);
  } while (performance.now() < endMs);
  throw new Finding(`left over ${when}: ${grown.join(", ")}`, "");
}

/** The memory after a round, against that of the first rounds. */
class MemoryWatch {
  #rounds = 0;
  #warm = { heap: 0, resident: 0 };

  /** The garbage must have been collected. */
  look(): void {
    const { heapUsed, external, rss: resident } = process.memoryUsage();
    const heap = heapUsed + external;
    const warm = this.#warm;
    if (++this.#rounds <= WARM_ROUNDS) {
      this.#warm = {
        heap: Math.max(warm.heap, heap),
        resident: Math.max(warm.resident, resident),
      };
      return;
    }
    this.#mustBeBelow("the heap", heap - warm.heap, HEAP_GROWTH_BYTES_MAX);
    this.#mustBeBelow("the process", resident - warm.resident, RESIDENT_GROWTH_BYTES_MAX);
  }

  #mustBeBelow(what: string, grownBytes: number, bytesMax: number): void {
    if (grownBytes <= bytesMax) return;
    const grownMiB = Math.round(grownBytes / 2 ** 20);
    throw new Finding(`${what} grew by ${grownMiB} MiB in ${this.#rounds} rounds`, "");
  }
}

// Sockets.

/** That many turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let left = count; left > 0; left--) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Writes the text in up to eight pieces, most of them in turns of their own, while it can. */
export async function writeInPieces(socket: Socket, text: string, chance: Chance): Promise<void> {
  const cuts = Array.from({ length: chance.below(8) }, () => chance.below(text.length + 1));
  const places = [0, ...cuts.sort((a, b) => a - b), text.length];
  for (let i = 1; i < places.length && socket.writable; i++) {
    if (places[i] === places[i - 1]) continue;
    if (places[i - 1] > 0 && !chance.oneIn(4)) await turns(chance.between(1, 3));
    socket.write(text.slice(places[i - 1], places[i]), "latin1");
  }
}

/** A listener on a port of its own that goes with the round, its sockets included. */
export async function listen(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** A client's connection and all that came on it. */
export class Client {
  readonly socket: Socket;
  text = "";
  /** How it was closed. */
  end: "" | "fin" | "reset" = "";
  isClosed = false;
  onText: ((bytes: Buffer) => void) | null = null;

  /** Over a socket that is connected or will be; the caller destroys it, whatever happens. */
  constructor(socket: Socket) {
    this.socket = socket;
    this.socket.on("data", (bytes: Buffer) => {
      this.text += bytes.latin1Slice();
      this.onText?.(bytes);
    });
    this.socket.on("end", () => {
      this.end = "fin";
      this.socket.end();
    });
    this.socket.on("error", () => (this.end = "reset"));
    this.socket.on("close", () => (this.isClosed = true));
  }

  static async connect(port: number): Promise<Client> {
    const options = { port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
    const client = new Client(net.connect(options));
    await until(() => !client.socket.connecting, "a connection");
    return client;
  }
}
