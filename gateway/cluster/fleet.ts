// The primary's workers: forks them, brings each to the generation that serves, replaces the ones
// that die or stop answering, and carries a change through all of them: prepared everywhere, then
// committed everywhere, or nowhere. Changes run one at a time; a worker boots between two changes.

import cluster from "node:cluster";
import type { Worker as ClusterWorker } from "node:cluster";
import { nowMs } from "../base/clock.ts";
import { LIMITS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { ListenerOptions } from "../http/listener-host.ts";
import type { Accepting } from "./channel.ts";
import { Distributor } from "./distributor.ts";
import type { NativeConnection } from "./distributor.ts";
import type { MetricsSnapshot } from "../telemetry/metrics.ts";
import type { WorkerProfile } from "../telemetry/pprof.ts";
import type { ProfileKind } from "../telemetry/profile.ts";
import { parseToPrimary } from "./channel.ts";
import type { CallRecord } from "../plugins/recorder.ts";
import type { Served, ToPrimary, ToWorker, WorkerReport } from "./channel.ts";
import type { KvRequest } from "./kv-store.ts";
import { Respawn } from "./respawn.ts";
import type { RolloutReport } from "./rollout-counters.ts";

const ROUTES_PER_MESSAGE = 200;
/**
 * Doors that a worker never uses: prototype setters, code from strings, the debugger's signal. Wasm is
 * compiled whole beforehand: lazy compilation would run within a request. The young generation grows
 * to 24 MB and not to 48: less would cost HTTP/2 much CPU for few megabytes (bench/README.md).
 */
const WORKER_FLAGS = [
  "--disable-proto=throw",
  "--disallow-code-generation-from-strings",
  "--disable-sigusr1",
  "--no-wasm-lazy-compilation",
  "--max-semi-space-size=8",
] as const;
/** One arena of glibc for all of a worker's threads: each keeps what it once needed, some megabytes. */
const MALLOC_ARENA_MAX = "1";
const ASK_MS = 2_000;
/** What a profile may take beside the time it samples. */
const PROFILE_MS = 10_000;

/** A listening socket for workers to accept from. */
export type FleetListener = {
  readonly name: string;
  readonly options: ListenerOptions;
  /** The primary's bound socket. */
  readonly handle: unknown;
  readonly accepting: Accepting;
};

export type WorkerView = {
  readonly id: number;
  readonly pid: number;
  readonly startedAtMs: number;
  readonly report: WorkerReport | null;
};

/** A worker refused a change, or the workers did not answer in time; the old generation serves. */
export class RefusedError extends Error {}

type Member = {
  readonly worker: ClusterWorker;
  readonly id: number;
  readonly startedAtMs: number;
  /** True once it serves the live generation. */
  ready: boolean;
  answeredMs: number;
  readonly waiting: Set<(message: ToPrimary | null) => void>;
  /** Connections that are not sent to it yet, and who takes them back. */
  readonly leaving: Map<NativeConnection, Distributor>;
};

export type FleetOptions = {
  readonly log: Log;
  readonly workers: number;
  /** The file that a worker runs. */
  readonly workerFile: string;
  /** A worker left; its last counters must not be forgotten. */
  onWorkerGone(workerId: number): void;
  /** A worker had to stop a plugin's version too often. */
  onQuarantined(name: string, version: string, detail: string): void;
  /** Answers a plugin's question about its values. */
  answerKv(request: KvRequest): string | number | null;
};

export class Fleet {
  readonly #options: FleetOptions;
  readonly #members = new Map<number, Member>();
  readonly #respawn = new Respawn();
  #served: Served | null = null;
  #listeners: readonly FleetListener[] = [];
  /** By the handle that the primary accepts from. */
  readonly #distributors = new Map<unknown, Distributor>();
  #turns = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #transactions = 0;
  #asks = 0;
  #stopping = false;
  #heartbeat: NodeJS.Timeout | null = null;
  restarts = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** Starts the workers on a first generation; resolves when all serve it. */
  async start(served: Served, listeners: readonly FleetListener[]): Promise<void> {
    this.#served = served;
    this.#listeners = listeners;
    cluster.setupPrimary({
      exec: this.#options.workerFile,
      args: [],
      execArgv: [...WORKER_FLAGS],
      serialization: "advanced",
      silent: false,
    });
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    const boots: Promise<string | null>[] = [];
    for (let i = 0; i < this.#options.workers; i++) boots.push(this.#fork());
    this.#heartbeat = setInterval(() => this.#beat(), LIMITS.heartbeatMs);
    const faults = (await Promise.all(boots)).filter((fault) => fault !== null);
    if (faults.length > 0) throw new Error(`workers could not start: ${faults[0]}`);
    this.#distribute();
  }

  /** True when every worker serves the live generation. */
  get ready(): boolean {
    const members = [...this.#members.values()];
    return members.length >= this.#options.workers && members.every(({ ready }) => ready);
  }

  /** Runs a task when no change and no boot is under way, alone. */
  exclusively<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  /**
   * Brings all workers to `next`; only within `exclusively`. `persist` runs when all are prepared and
   * before any commits: when it rejects, nothing has changed. Rejects with a RefusedError when a
   * worker refuses.
   */
  async change(next: Served, persist: () => Promise<void>): Promise<void> {
    const transaction = ++this.#transactions;
    const members = [...this.#members.values()].filter(({ ready }) => ready);
    const abort = () => {
      for (const member of members) this.#send(member, { kind: "abort", transaction });
    };
    try {
      await Promise.all(members.map((member) => this.#prepare(member, transaction, next)));
      await persist();
    } catch (error) {
      abort();
      throw error;
    }
    this.#served = next;
    await Promise.all(members.map((member) => this.#commit(member, transaction)));
  }

  /** Opens, updates and closes listeners in all workers; only within `exclusively`. */
  async listen(listeners: readonly FleetListener[]): Promise<void> {
    const gone = this.#listeners.filter(({ name }) => !listeners.some((l) => l.name === name));
    const known = new Set(this.#listeners.map(({ name }) => name));
    this.#listeners = listeners;
    const members = [...this.#members.values()].filter(({ ready }) => ready);
    for (const member of members) {
      for (const { name } of gone) this.#send(member, { kind: "unlisten", name });
    }
    const opened = listeners.flatMap((listener) =>
      members.map((member) => this.#openListener(member, listener, known.has(listener.name))),
    );
    await Promise.all(opened);
    this.#distribute();
  }

  /** The counters of every worker that answers in time. */
  async metrics(): Promise<Map<number, MetricsSnapshot>> {
    const answers = new Map<number, MetricsSnapshot>();
    await this.#askAll(
      (id) => ({ kind: "metrics", id }),
      (member, message) => {
        if (message.kind === "metrics") answers.set(member.id, message.snapshot);
      },
    );
    return answers;
  }

  /** A profile of every worker that takes one; one that is busy with another is left out. */
  async profile(of: ProfileKind, seconds: number): Promise<WorkerProfile[]> {
    const profiles: WorkerProfile[] = [];
    await this.#askAll(
      (id) => ({ kind: "profile", id, of, seconds }),
      (member, message) => {
        if (message.kind === "profile") profiles.push({ worker: member.id, nodes: message.nodes });
      },
      seconds * 1000 + PROFILE_MS,
    );
    return profiles;
  }

  /** What every worker that answers in time has counted of rollouts, by worker. */
  async rolloutReports(): Promise<Map<number, readonly RolloutReport[]>> {
    const answers = new Map<number, readonly RolloutReport[]>();
    await this.#askAll(
      (id) => ({ kind: "rollouts", id }),
      (member, message) => {
        if (message.kind === "rollouts") answers.set(member.id, message.reports);
      },
    );
    return answers;
  }

  /** What workers that answer in time have recorded of a route. */
  async recordings(route: string): Promise<CallRecord[]> {
    const records: CallRecord[] = [];
    await this.#askAll(
      (id) => ({ kind: "recordings", id, route }),
      (_, message) => {
        if (message.kind === "recordings") records.push(...message.records);
      },
    );
    return records;
  }

  async views(): Promise<WorkerView[]> {
    const reports = new Map<number, WorkerReport>();
    await this.#askAll(
      (id) => ({ kind: "info", id }),
      (member, message) => {
        if (message.kind === "info") reports.set(member.id, message.info);
      },
    );
    return [...this.#members.values()].map(({ id, worker, startedAtMs }) => ({
      id,
      pid: worker.process.pid ?? 0,
      startedAtMs,
      report: reports.get(id) ?? null,
    }));
  }

  reopenLogs(): void {
    for (const member of this.#members.values()) this.#send(member, { kind: "reopen-logs" });
  }

  /** Lets every worker end its requests, at most until the deadline, and then ends it. */
  async stop(drainMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#heartbeat !== null) clearInterval(this.#heartbeat);
    await Promise.all([...this.#members.values()].map((member) => this.#stopOne(member, drainMs)));
  }

  async #stopOne(member: Member, drainMs: number): Promise<void> {
    const exited = new Promise<void>((resolve) => member.worker.once("exit", () => resolve()));
    const drained = this.#await(member, drainMs, ({ kind }) => kind === "drained");
    this.#send(member, { kind: "drain" });
    if ((await drained) === null && member.worker.isConnected()) {
      this.#options.log.warn("a worker was ended with requests under way", { worker: member.id });
    }
    member.worker.process.kill("SIGKILL");
    await exited;
  }

  // Resolves when the worker serves (null) or will not: then to the reason, its successor under way.
  async #fork(): Promise<string | null> {
    const worker = cluster.fork({ MALLOC_ARENA_MAX, ...process.env });
    const member: Member = {
      worker,
      id: worker.id,
      startedAtMs: Date.now(),
      ready: false,
      answeredMs: nowMs(),
      waiting: new Set(),
      leaving: new Map(),
    };
    this.#members.set(worker.id, member);
    worker.on("message", (message: unknown) => this.#onMessage(member, message));
    worker.on("error", (error) => this.#options.log.error("a worker's channel failed", { error }));
    worker.once("exit", (code, signal) => this.#onExit(member, code, signal));
    const greeted = await this.#await(member, LIMITS.commitMs, ({ kind }) => kind === "hello");
    if (greeted === null) {
      this.#kill(member, "it did not start in time");
      return "a worker died or did not start in time";
    }
    return await this.exclusively(() => this.#boot(member));
  }

  async #boot(member: Member): Promise<string | null> {
    const served = this.#served;
    if (served === null || member.worker.isDead() || this.#stopping) return "the worker is gone";
    const transaction = ++this.#transactions;
    try {
      await this.#prepare(member, transaction, served);
      await this.#commit(member, transaction);
      await Promise.all(this.#listeners.map((each) => this.#openListener(member, each, false)));
      member.ready = true;
      for (const distributor of this.#distributors.values()) distributor.retry();
      return member.worker.isDead() ? "the worker died" : null;
    } catch (error) {
      this.#options.log.error("a worker could not start", { worker: member.id, error });
      this.#kill(member, "it could not start");
      return error instanceof Error ? error.message : String(error);
    }
  }

  async #prepare(member: Member, transaction: number, next: Served): Promise<void> {
    const { routes, ...rest } = next;
    const reuseRoutes = member.ready && this.#served?.routes === routes;
    if (!reuseRoutes) {
      for (let at = 0; at < routes.length; at += ROUTES_PER_MESSAGE) {
        const part = routes.slice(at, at + ROUTES_PER_MESSAGE);
        this.#send(member, { kind: "routes", transaction, routes: part });
      }
    }
    const settled = this.#await(
      member,
      LIMITS.commitMs,
      (message) =>
        (message.kind === "prepared" || message.kind === "refused") &&
        message.transaction === transaction,
    );
    this.#send(member, { kind: "prepare", transaction, ...rest, reuseRoutes });
    const answer = await settled;
    if (answer?.kind === "refused") throw new RefusedError(answer.reason);
    // One that died is replaced and boots on what is served then; one that hangs refuses for all.
    if (answer === null && !member.worker.isDead()) {
      this.#kill(member, "it did not prepare a change in time");
      throw new RefusedError(`worker ${member.id} did not answer in ${LIMITS.commitMs} ms`);
    }
  }

  async #commit(member: Member, transaction: number): Promise<void> {
    const settled = this.#await(
      member,
      LIMITS.commitMs,
      (message) => message.kind === "committed" && message.transaction === transaction,
    );
    this.#send(member, { kind: "commit", transaction });
    if ((await settled) === null) this.#kill(member, "it did not commit a change in time");
  }

  async #openListener(member: Member, listener: FleetListener, isOpen: boolean): Promise<void> {
    const { name, options, handle, accepting } = listener;
    const passed = isOpen || accepting.mode !== "shared" ? undefined : handle;
    const listening = this.#await(
      member,
      LIMITS.commitMs,
      (message) => message.kind === "listening" && message.name === name,
    );
    this.#send(member, { kind: "listen", name, options, accepting }, passed);
    if ((await listening) === null) this.#kill(member, `it did not open listener ${name}`);
  }

  // Begins to accept for listeners that are served in turn; a closed handle accepts no more by itself.
  #distribute(): void {
    const mine = this.#listeners.filter(({ accepting }) => accepting.mode === "round-robin");
    for (const { handle } of mine) {
      // One that runs may hold connections: it goes on.
      if (this.#distributors.has(handle)) continue;
      const distributor: Distributor = new Distributor(handle, (connection) =>
        this.#give(connection, handle, distributor),
      );
      this.#distributors.set(handle, distributor);
    }
    for (const handle of this.#distributors.keys()) {
      if (!mine.some((listener) => listener.handle === handle)) this.#distributors.delete(handle);
    }
  }

  #give(connection: NativeConnection, handle: unknown, distributor: Distributor): boolean {
    const listener = this.#listeners.find((each) => each.handle === handle);
    const member = this.#next();
    if (listener === undefined || member === null) return false;
    member.leaving.set(connection, distributor);
    const message: ToWorker = { kind: "connection", name: listener.name };
    member.worker.send(message, connection as never, (error) => {
      // The worker has its own copy now; without one another is asked when this one's end is known.
      if (error === null && member.leaving.delete(connection)) connection.close();
    });
    return true;
  }

  #next(): Member | null {
    const members = [...this.#members.values()].filter(
      ({ ready, worker }) => ready && worker.isConnected(),
    );
    return members.length === 0 ? null : members[this.#turns++ % members.length];
  }

  #onMessage(member: Member, value: unknown): void {
    // What the cluster module says to itself is not ours.
    if (typeof value === "object" && value !== null && "cmd" in value) return;
    let message: ToPrimary;
    try {
      message = parseToPrimary(value);
    } catch (error) {
      this.#options.log.error("a message of a worker was not understood", { error });
      this.#kill(member, "it does not speak the primary's language");
      return;
    }
    member.answeredMs = nowMs();
    if (message.kind === "quarantined") {
      this.#options.onQuarantined(message.name, message.version, message.detail);
    } else if (message.kind === "kv") {
      const value = this.#options.answerKv(message.request);
      this.#send(member, { kind: "kv", id: message.id, value });
      return;
    }
    for (const wait of [...member.waiting]) wait(message);
  }

  #onExit(member: Member, code: number | null, signal: string | null): void {
    this.#members.delete(member.id);
    for (const wait of [...member.waiting]) wait(null);
    for (const [connection, distributor] of member.leaving) distributor.take(connection);
    this.#options.onWorkerGone(member.id);
    if (this.#stopping) return;
    this.restarts++;
    const delayMs = this.#respawn.delayMs(nowMs());
    this.#options.log.warn("a worker ended and is replaced", {
      worker: member.id,
      code,
      signal,
      delay_ms: delayMs,
    });
    setTimeout(() => {
      if (!this.#stopping) void this.#fork();
    }, delayMs);
  }

  #beat(): void {
    const now = nowMs();
    for (const member of this.#members.values()) {
      if (!member.ready) continue;
      if (now - member.answeredMs > LIMITS.heartbeatMissedMs) {
        this.#kill(member, `it did not answer for ${LIMITS.heartbeatMissedMs} ms`);
      } else {
        this.#send(member, { kind: "ping", at: now });
      }
    }
  }

  #kill(member: Member, reason: string): void {
    if (member.worker.isDead()) return;
    this.#options.log.error("a worker is killed", { worker: member.id, reason });
    member.ready = false;
    member.worker.process.kill("SIGKILL");
  }

  // Waits for a message; null when the worker dies or the time is up.
  #await(
    member: Member,
    timeoutMs: number,
    fits: (message: ToPrimary) => boolean,
  ): Promise<ToPrimary | null> {
    return new Promise((resolve) => {
      const settle = (message: ToPrimary | null) => {
        if (message !== null && !fits(message)) return;
        clearTimeout(timer);
        member.waiting.delete(settle);
        resolve(message);
      };
      const timer = setTimeout(() => settle(null), timeoutMs);
      member.waiting.add(settle);
      if (member.worker.isDead()) settle(null);
    });
  }

  async #askAll(
    question: (id: number) => ToWorker,
    take: (member: Member, message: ToPrimary) => void,
    timeoutMs: number = ASK_MS,
  ): Promise<void> {
    const asked = [...this.#members.values()].filter(({ ready }) => ready);
    await Promise.all(
      asked.map(async (member) => {
        const id = ++this.#asks;
        const answered = this.#await(
          member,
          timeoutMs,
          (message) => "id" in message && message.id === id,
        );
        this.#send(member, question(id));
        const answer = await answered;
        if (answer !== null) take(member, answer);
      }),
    );
  }

  #send(member: Member, message: ToWorker, handle?: unknown): void {
    if (!member.worker.isConnected()) return;
    // A worker that is just dying is noticed by its exit, not by a failed write.
    member.worker.send(message, handle as never, () => {});
  }
}
