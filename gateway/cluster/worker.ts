// A worker: serves what the primary tells it to serve. Accepts from sockets that the primary bound,
// runs the generation that was committed last, and ends when the primary is gone, because nobody
// would be left to bound it.

import type { Log } from "../base/log.ts";
import { beginTurn, nowMs } from "../base/clock.ts";
import { isErrorCode } from "../base/errors.ts";
import { IdSource } from "../base/ids.ts";
import { TimerWheel } from "../base/timer-wheel.ts";
import type { RouteConfig } from "../config/schema.ts";
import type { Exchange } from "../exchange.ts";
import type { Core } from "../http/handle.ts";
import { ListenerHost } from "../http/listener-host.ts";
import type { RouteRuntime, Snapshot } from "../http/snapshot.ts";
import { VersionSplit } from "../http/version-split.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import { LoopDelay } from "../telemetry/loop-delay.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { parseToWorker } from "./channel.ts";
import type {
  ListenMessage,
  PrepareMessage,
  ProfileMessage,
  ToPrimary,
  ToWorker,
} from "./channel.ts";
import { Generations } from "./generations.ts";
import { KvLink } from "./kv-link.ts";
import type { Generation } from "./generations.ts";

/** The process's side of the channel to the primary; `process` is one. */
export interface PrimaryChannel {
  send(message: ToPrimary): void;
  onMessage(listener: (message: unknown, handle: unknown) => void): void;
  onDisconnect(listener: () => void): void;
  exit(code: number): never;
}

/** Serves until the primary drains or leaves. */
export function runWorker(channel: PrimaryChannel, log: Log, workerId: string): void {
  const worker = new Worker(channel, log, workerId);
  channel.onMessage((message, handle) => worker.onMessage(message, handle));
  // Without a primary there is no configuration, no watchdog and no upgrade: end at once.
  channel.onDisconnect(() => channel.exit(1));
  channel.send({ kind: "hello" });
}

type Staged = { readonly transaction: number; readonly generation: Generation };

class Worker implements Core {
  readonly ids = new IdSource();
  readonly log: Log;
  readonly #channel: PrimaryChannel;
  readonly wheel = new TimerWheel(beginTurn);
  readonly #metrics: Metrics;
  readonly #kv: KvLink;
  readonly #generations: Generations;
  readonly #listeners = new Map<string, ListenerHost>();
  readonly #startedMs = nowMs();
  #routes: { transaction: number; routes: RouteConfig[] } = { transaction: -1, routes: [] };
  #staged: Staged | null = null;
  #aborted = -1;
  #snapshot: Snapshot | null = null;
  #accessLog: AccessLog | null = null;
  #accessLogPath = "";
  #requests = 0;
  #draining = false;

  constructor(channel: PrimaryChannel, log: Log, workerId: string) {
    this.#channel = channel;
    this.log = log;
    this.#metrics = new Metrics(workerId, new LoopDelay());
    this.#kv = new KvLink((message) => channel.send(message));
    this.#generations = new Generations({
      wheel: this.wheel,
      metrics: this.#metrics,
      log,
      keyValues: (plugin) => this.#kv.of(plugin),
      onQuarantined: ({ name, version }, detail) =>
        channel.send({ kind: "quarantined", name, version, detail }),
    });
  }

  get snapshot(): Snapshot {
    // Listeners are only opened after the first commit.
    if (this.#snapshot === null) throw new Error("no generation serves yet");
    return this.#snapshot;
  }

  onFinished(exchange: Exchange, route: RouteRuntime | null, durationMs: number): void {
    this.#requests++;
    const counters = route === null ? this.#metrics.route("") : route.metrics;
    counters.observe(exchange.status, durationMs, exchange.bytesReceived, exchange.bytesSent);
    const decider = exchange.decidedBy;
    if (exchange.choices !== null) {
      for (const choice of exchange.choices.values()) choice.finished(exchange);
    }
    if (decider?.version === "builtin") this.#countBuiltin(decider.name, exchange.reason);
    this.#accessLog?.write(exchange, durationMs);
  }

  // Built-in plugins are counted where they decide: a call that lets pass costs no counter.
  #countBuiltin(name: string, reason: string): void {
    const counters = this.#metrics.plugin(name, "builtin");
    if (isErrorCode(reason)) counters.decided("error", reason);
    else counters.decided("respond", null);
  }

  onMessage(value: unknown, handle: unknown): void {
    let message: ToWorker;
    try {
      message = parseToWorker(value);
    } catch (error) {
      this.log.error("a message of the primary was not understood", { error });
      this.#channel.exit(1);
    }
    switch (message.kind) {
      case "routes":
        this.#addRoutes(message.transaction, message.routes);
        return;
      case "prepare":
        void this.#prepare(message);
        return;
      case "commit":
        this.#commit(message.transaction);
        return;
      case "abort":
        this.#abort(message.transaction);
        return;
      case "listen":
        void this.#listen(message, handle);
        return;
      case "connection":
        this.#adopt(message.name, handle);
        return;
      case "unlisten":
        this.#unlisten(message.name);
        return;
      case "metrics":
        this.#channel.send({
          kind: "metrics",
          id: message.id,
          snapshot: this.#metrics.snapshot(),
        });
        return;
      case "info":
        this.#sendInfo(message.id);
        return;
      case "profile":
        void this.#profile(message);
        return;
      case "rollouts":
        this.#channel.send({
          kind: "rollouts",
          id: message.id,
          reports: this.#generations.counters.reports(),
        });
        return;
      case "recordings": {
        const { id, route } = message;
        const records = this.#generations.recorders.list(route, null);
        this.#channel.send({ kind: "recordings", id, records });
        return;
      }
      case "kv":
        this.#kv.onAnswer(message.id, message.value);
        return;
      case "ping":
        this.#channel.send({ kind: "pong", at: message.at });
        return;
      case "reopen-logs":
        void this.#accessLog?.reopen();
        return;
      case "drain":
        void this.#drain();
    }
  }

  #addRoutes(transaction: number, routes: readonly RouteConfig[]): void {
    if (this.#routes.transaction !== transaction) this.#routes = { transaction, routes: [] };
    for (const route of routes) this.#routes.routes.push(route);
  }

  async #prepare(message: PrepareMessage): Promise<void> {
    const { transaction, generation, revision, base, plugins, rollouts, overrideKeys } = message;
    const beganMs = nowMs();
    const received = this.#routes.transaction === transaction ? this.#routes.routes : [];
    this.#routes = { transaction: -1, routes: [] };
    try {
      const prepared = await this.#generations.prepare({
        generation,
        revision,
        base,
        routes: message.reuseRoutes ? null : received,
        plugins,
        rollouts,
        overrideKeys,
      });
      if (this.#aborted === transaction) {
        this.#generations.abort(prepared);
        return;
      }
      this.#staged = { transaction, generation: prepared };
      this.#channel.send({ kind: "prepared", transaction, tookMs: nowMs() - beganMs });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#channel.send({ kind: "refused", transaction, reason });
    }
  }

  #commit(transaction: number): void {
    const staged = this.#staged;
    if (staged === null || staged.transaction !== transaction) {
      // The primary believes that this worker is ready; it is not, so it must be replaced.
      this.log.error("told to commit what was not prepared", { transaction });
      this.#channel.exit(1);
    }
    this.#staged = null;
    const { generation } = staged;
    this.#generations.commit(generation);
    this.#snapshot = generation.snapshot;
    this.#useAccessLog(generation);
    this.#metrics.retain({
      routes: new Set(["", ...generation.routes.map(({ name }) => name)]),
      upstreams: new Set(generation.plan.upstreams.keys()),
      plugins: pluginNames(generation.snapshot),
    });
    this.#channel.send({ kind: "committed", transaction });
  }

  #abort(transaction: number): void {
    this.#aborted = transaction;
    const staged = this.#staged;
    if (staged?.transaction !== transaction) return;
    this.#staged = null;
    this.#generations.abort(staged.generation);
  }

  async #listen(message: ListenMessage, handle: unknown): Promise<void> {
    const { name, options, accepting } = message;
    const running = this.#listeners.get(name);
    if (running !== undefined) {
      running.update(options);
      this.#channel.send({ kind: "listening", name });
      return;
    }
    const host = new ListenerHost(options, {
      core: this,
      wheel: this.wheel,
      buffers: this.#generations.buffers,
      counters: this.#metrics.listener(options.name),
    });
    this.#listeners.set(name, host);
    try {
      if (accepting.mode === "shared") await host.listen(handle);
      else if (accepting.mode === "reuse-port") {
        const { host: address, port } = accepting;
        await host.listen({ host: address, port, reusePort: true, exclusive: true });
      }
      this.#channel.send({ kind: "listening", name });
    } catch (error) {
      this.log.error("a listener could not be opened", { listener: name, error });
      this.#channel.exit(1);
    }
  }

  // A connection of a listener that was closed meanwhile has nobody to serve it.
  #adopt(name: string, handle: unknown): void {
    const host = this.#listeners.get(name);
    if (host !== undefined) host.adopt(handle);
    else (handle as { close(): void } | undefined)?.close();
  }

  #unlisten(name: string): void {
    const host = this.#listeners.get(name);
    this.#listeners.delete(name);
    void host?.drain();
  }

  #useAccessLog(generation: Generation): void {
    const path = generation.base.access_log?.path ?? "";
    if (path === this.#accessLogPath) return;
    void this.#accessLog?.close();
    this.#accessLogPath = path;
    this.#accessLog = path === "" ? null : new AccessLog({ path });
  }

  #sendInfo(id: number): void {
    let connections = 0;
    for (const host of this.#listeners.values()) connections += host.connectionCount;
    this.#channel.send({
      kind: "info",
      id,
      info: {
        generation: this.#generations.live?.generation ?? 0,
        revision: this.#generations.live?.revision ?? 0,
        draining: this.#draining,
        connections,
        requests: this.#requests,
        rssBytes: process.memoryUsage.rss(),
        uptimeMs: nowMs() - this.#startedMs,
      },
    });
  }

  async #profile({ id, of, seconds }: ProfileMessage): Promise<void> {
    try {
      const { takeProfile } = await import("../telemetry/profile.ts");
      this.#channel.send({ kind: "profile", id, nodes: await takeProfile(of, seconds) });
    } catch (error) {
      this.log.warn("no profile could be taken", { error });
      this.#channel.send({ kind: "profile", id, nodes: [] });
    }
  }

  async #drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    await Promise.all([...this.#listeners.values()].map((host) => host.drain()));
    await this.#accessLog?.close();
    this.#channel.send({ kind: "drained" });
  }
}

function pluginNames({ slots }: Snapshot): Set<string> {
  const plugins = slots.flatMap((slot) => (slot instanceof VersionSplit ? slot.plugins : slot));
  return new Set(plugins.map(({ name, version }) => `${name}@${version}`));
}
