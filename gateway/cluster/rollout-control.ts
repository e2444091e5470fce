// Rollouts as the admin API sees them, and their clock: looks at what both versions do, steps on while the
// candidate is as good, and takes it back at once when it is not. Every step is one transaction of all
// workers, on disk before it counts, so that a restart goes on from the last one.

import { randomUUID } from "node:crypto";
import { ControlError } from "../../admin/api/control.ts";
import type {
  ReplayReport,
  RolloutChange,
  RolloutGate,
  RolloutPlace,
  RolloutRequest,
  RolloutView,
  RolloutsControl,
} from "../../admin/api/control.ts";
import { nowMs } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../config/schema.ts";
import { judge } from "../rollout/analysis.ts";
import type { Judgement } from "../rollout/analysis.ts";
import { requestsOf } from "../rollout/counts.ts";
import * as life from "../rollout/rollout.ts";
import type { Act, Rollout } from "../rollout/rollout.ts";
import type { RolloutFacts } from "../telemetry/rollout-families.ts";
import type { Fleet } from "./fleet.ts";
import type { Live } from "./live.ts";
import type { PluginQuarantine } from "./plugin-quarantine.ts";
import type { PluginStore } from "./plugin-store.ts";
import { versionsAt } from "./rollout-versions.ts";
import { RolloutStats } from "./rollout-stats.ts";
import { withRollout } from "./rollout-store.ts";
import type { RolloutStore } from "./rollout-store.ts";
import { factsOf, startAgain, viewOf } from "./rollout-view.ts";

/** Rollouts under way at one time; each shadow has a thread in every worker. */
const ACTIVE_MAX = 100;
const SHADOWS_MAX = 8;
/** How often a rollout is looked at: so many times an interval, within these bounds. */
const LOOKS_PER_INTERVAL = 8;
const LOOK_MS_MIN = 50;
const LOOK_MS_MAX = 1_000;
const GATEWAY = "gateway";

export type RolloutControlParts = {
  readonly log: Log;
  readonly live: Live;
  readonly fleet: Fleet;
  readonly plugins: PluginStore;
  readonly quarantine: PluginQuarantine;
  readonly rollouts: RolloutStore;
  /** Refuses a version that the configuration's trusted keys do not vouch for. */
  believe(name: string, version: string): Promise<void>;
  /** Refuses a version whose schema does not take the configuration of the place. */
  mustFit(at: RolloutPlace, version: string): void;
  /** Runs a candidate over what the route has recorded. */
  replay(at: RolloutPlace, candidate: string): Promise<ReplayReport>;
  /** Changes the configuration along with the rollouts; only within the exclusive section. */
  edit(
    change: (config: Config) => Config,
    facts: { readonly actor: string; readonly message: string },
    rollouts: readonly Rollout[],
  ): Promise<void>;
};

export class RolloutControl implements RolloutsControl {
  readonly #parts: RolloutControlParts;
  readonly #stats = new RolloutStats(nowMs);
  /** Why a rollout could not go on at the last look, by its id. */
  readonly #troubles = new Map<string, string>();
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  #collecting: Promise<void> | null = null;
  readonly #goneWorkers = new Set<number>();
  onAutomatic: RolloutsControl["onAutomatic"] = () => {};

  constructor(parts: RolloutControlParts) {
    this.#parts = parts;
    for (const rollout of parts.rollouts.rollouts.filter(life.isActive)) {
      const { route, plugin, stable, candidate, mode } = rollout;
      const facts = { route, plugin, stable, candidate, mode, weight: life.weightOf(rollout) };
      parts.log.info("a rollout goes on from its last step, and counts anew", facts);
    }
    this.#schedule();
  }

  async list(): Promise<readonly RolloutView[]> {
    await this.#collect();
    return this.#parts.rollouts.rollouts.map((rollout) => this.#view(rollout));
  }

  async get(route: string, plugin: string): Promise<RolloutView> {
    const rollout = this.#existing({ route, plugin });
    await this.#collect();
    return this.#view(rollout);
  }

  /** All of them as the metrics show them. */
  async facts(): Promise<readonly RolloutFacts[]> {
    await this.#collect();
    return this.#parts.rollouts.rollouts.map((rollout) => factsOf(rollout, this.#stats));
  }

  async differences(route: string, plugin: string): Promise<readonly object[]> {
    const { id } = this.#existing({ route, plugin });
    await this.#collect();
    return this.#stats.differences(id);
  }

  async start(
    at: RolloutPlace,
    request: RolloutRequest,
    actor: string,
  ): Promise<RolloutChange & { readonly created: boolean }> {
    const beganMs = nowMs();
    const { live, rollouts, quarantine } = this.#parts;
    const { gate, ...wanted } = request;
    if (gate !== null) await this.#passGate(at, request.candidate, gate);
    return await live.exclusively(async () => {
      const before = this.#find(at);
      const plan = { ...wanted, ...at, ...versionsAt(this.#parts, at, request.candidate) };
      await this.#parts.believe(plan.plugin, plan.candidate);
      this.#parts.mustFit(at, plan.candidate);
      this.#mustBeFree(before, plan.mode);
      quarantine.lift(plan.plugin, plan.candidate);
      const act = now(actor, `${plan.stable} -> ${plan.candidate}`);
      const rollout = life.startRollout(plan, randomUUID(), act);
      const next = withRollout(rollouts.rollouts, rollout);
      await live.changePlugins({ rollouts: next });
      this.#stats.retain(new Set(next.map(({ id }) => id)));
      this.#stats.beginStep(rollout.id);
      this.#tell(rollout);
      this.#schedule();
      const undo = `sallyport rollout abort ${at.route} ${at.plugin}`;
      return { ...this.#changed(rollout, 0, { undo, beganMs }), created: before === null };
    });
  }

  async promote(at: RolloutPlace, to: "next" | "full", actor: string): Promise<RolloutChange> {
    return await this.#act(at, async (rollout) => {
      const isLast = rollout.step >= rollout.steps.length - 1;
      if (to === "full" || isLast) {
        return await this.#promote(rollout, now(actor, "asked for"), rollout.judged);
      }
      await this.#step(rollout, now(actor, "asked for"), rollout.judged);
      return `sallyport rollout abort ${at.route} ${at.plugin}`;
    });
  }

  async pause(at: RolloutPlace, actor: string): Promise<RolloutChange> {
    return await this.#act(at, async (rollout) => {
      if (rollout.state === "running") await this.#save(life.pause(rollout, now(actor)));
      return `sallyport rollout resume ${at.route} ${at.plugin}`;
    });
  }

  async resume(at: RolloutPlace, actor: string): Promise<RolloutChange> {
    return await this.#act(at, async (rollout) => {
      if (rollout.state === "paused") await this.#save(life.resume(rollout, now(actor)));
      this.#stats.beginStep(rollout.id);
      return `sallyport rollout pause ${at.route} ${at.plugin}`;
    });
  }

  async abort(at: RolloutPlace, actor: string): Promise<RolloutChange> {
    return await this.#act(at, async (rollout) => {
      await this.#abort(rollout, now(actor, "asked for"), rollout.judged);
      return startAgain(rollout);
    });
  }

  /**
   * A version had to be stopped too often: rollouts that it is part of end, so that a candidate is taken back,
   * and the version before a stable one may serve. True when that was all there is to do.
   */
  async onStoppedTooOften(name: string, version: string, detail: string): Promise<boolean> {
    const { live, plugins, rollouts } = this.#parts;
    const isOne = (each: Rollout) =>
      life.isActive(each) &&
      each.plugin === name &&
      [each.candidate, each.stable].includes(version);
    const ending = rollouts.rollouts.filter(isOne);
    if (ending.length === 0) return false;
    // Workers forget what they counted when it ends, and the failures that end it are the latest of it.
    await this.#attempt("", async () => {
      await this.#collecting;
      await this.#collect();
    });
    await live.exclusively(async () => {
      for (const rollout of rollouts.rollouts.filter(isOne)) {
        const why = `${version} was stopped too often: ${detail}`;
        await this.#abort(rollout, now(GATEWAY, why), rollout.judged);
      }
    });
    const isServing = ending.some(({ stable }) => stable === version);
    return !isServing && plugins.registry.entry(name)?.current !== version;
  }

  onWorkerGone(worker: number): void {
    this.#goneWorkers.add(worker);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  // The clock.

  #schedule(): void {
    if (this.#timer !== null || this.#closed) return;
    const intervals = this.#parts.rollouts.rollouts
      .filter(life.isActive)
      .map(({ intervalMs }) => intervalMs);
    if (intervals.length === 0) return;
    const lookMs = Math.min(...intervals) / LOOKS_PER_INTERVAL;
    const delayMs = Math.min(Math.max(lookMs, LOOK_MS_MIN), LOOK_MS_MAX);
    this.#timer = setTimeout(() => void this.#tick(), delayMs);
  }

  async #tick(): Promise<void> {
    await this.#attempt("", () => this.#collect());
    // One that cannot go on holds up none of the others.
    for (const rollout of this.#parts.rollouts.rollouts.filter(life.isActive)) {
      await this.#attempt(rollout.id, () => this.#look(rollout));
    }
    this.#timer = null;
    this.#schedule();
  }

  // What fails is tried again at the next look, for nothing has changed; it is told once.
  async #attempt(id: string, task: () => Promise<void>): Promise<void> {
    try {
      await task();
      this.#troubles.delete(id);
    } catch (error) {
      const why = String(error);
      if (this.#closed || this.#troubles.get(id) === why) return;
      this.#troubles.set(id, why);
      this.#parts.log.error("a rollout could not go on", { rollout: id, error });
    }
  }

  // One at a time: of two that overlap the one that ends last may know less.
  #collect(): Promise<void> {
    this.#collecting ??= this.#askWorkers().finally(() => (this.#collecting = null));
    return this.#collecting;
  }

  async #askWorkers(): Promise<void> {
    if (this.#parts.rollouts.rollouts.length > 0) {
      const reports = await this.#parts.fleet.rolloutReports();
      for (const [worker, report] of reports) this.#stats.take(worker, report);
    }
    // Afterwards: it may have answered before it went.
    for (const worker of this.#goneWorkers) this.#stats.leave(worker);
    this.#goneWorkers.clear();
  }

  async #look(rollout: Rollout): Promise<void> {
    const elapsedMs = this.#stats.elapsedMs(rollout.id);
    const looked = this.#judge(rollout);
    const move = life.nextMove(rollout, looked, elapsedMs);
    const judged = looked.sure.verdict === "bad" ? looked.sure : looked.plain;
    if (move.kind === "wait" || this.#closed) return;
    await this.#parts.live.exclusively(async () => {
      // Somebody may have acted meanwhile.
      if (this.#find(rollout) !== rollout) return;
      if (move.kind === "abort") await this.#abort(rollout, now(GATEWAY, move.why), judged);
      else if (move.kind === "step") await this.#step(rollout, now(GATEWAY), judged);
      else if (move.kind === "promote") await this.#promote(rollout, now(GATEWAY), judged);
      else {
        await this.#save(life.passInterval(rollout, judged, now(GATEWAY)));
        this.#stats.beginStep(rollout.id);
      }
    });
  }

  // The step, and what chance cannot explain of the whole as well.
  #judge({ id, thresholds }: Rollout): life.Looked {
    const totals = this.#stats.totals(id);
    const step = this.#stats.ofStep(id);
    // At the last step nobody is left to compare with.
    const isAlone = requestsOf(step.stable) < thresholds.minRequests;
    const stable = isAlone ? totals.stable : step.stable;
    const plain = judge(stable, step.candidate, { thresholds, surely: false });
    const sure = judge(stable, step.candidate, { thresholds, surely: true });
    if (sure.verdict === "bad") return { plain, sure };
    return { plain, sure: judge(totals.stable, totals.candidate, { thresholds, surely: true }) };
  }

  // What is done; all of it within the exclusive section.

  async #save(rollout: Rollout): Promise<void> {
    const { live, rollouts } = this.#parts;
    const before = this.#find(rollout);
    await live.changePlugins({ rollouts: withRollout(rollouts.rollouts, rollout) });
    // A shadow that passes once more has nothing new to tell.
    if (rollout.events !== before?.events) this.#tell(rollout);
  }

  async #step(rollout: Rollout, act: Act, judged: Judgement | null): Promise<void> {
    await this.#save(life.stepOn(rollout, judged, act));
    this.#stats.beginStep(rollout.id);
  }

  async #abort(rollout: Rollout, act: Act, judged: Judgement | null): Promise<void> {
    const { live, log, plugins, rollouts } = this.#parts;
    const ended = life.end(rollout, "aborted", act, judged);
    const { plugin, stable, candidate, attached } = rollout;
    const current = plugins.registry.entry(plugin)?.current;
    const next = withRollout(rollouts.rollouts, ended);
    if (attached !== null || current === stable) await live.changePlugins({ rollouts: next });
    else {
      // Without a word in the configuration the route would go on to what has become current meanwhile.
      await this.#pin(ended, stable, { act, rollouts: next }).catch(async (error: unknown) => {
        if (current === candidate) {
          await this.#withhold(rollout, act);
          throw error;
        }
        // What else is wrong with the configuration must not keep a bad candidate in service.
        const facts = { route: rollout.route, plugin, stable, current, error };
        log.error("the stable version could not be pinned, the current one serves", facts);
        await live.changePlugins({ rollouts: next });
      });
    }
    this.#tell(ended);
  }

  // The current version is the candidate itself: until the stable one can be pinned, the rollout keeps it.
  async #withhold(rollout: Rollout, act: Act): Promise<void> {
    if (life.weightOf(rollout) === 0) return;
    const reason = `${act.reason}; the stable version cannot be pinned yet`;
    await this.#save(life.withhold(rollout, { ...act, reason }));
  }

  // Resolves to the command that undoes it. Routes that follow the current version as well keep it.
  async #promote(rollout: Rollout, act: Act, judged: Judgement | null): Promise<string> {
    const { live, plugins, rollouts } = this.#parts;
    const ended = life.end(rollout, "promoted", act, judged);
    const next = withRollout(rollouts.rollouts, ended);
    const { route, plugin, candidate } = rollout;
    // Keys and configurations may have become others since it began.
    await this.#parts.believe(plugin, candidate);
    this.#parts.mustFit(rollout, candidate);
    const isAlone = !(live.state.config.routes ?? []).some(
      (other) =>
        other.name !== route &&
        other.plugins?.some((each) => each.plugin === plugin && each.version === undefined),
    );
    const before = live.state.revision;
    if (rollout.attached === null && isAlone) {
      const registry = plugins.registry.withCurrent(plugin, candidate);
      await live.changePlugins({ registry, rollouts: next });
    } else {
      await this.#pin(ended, candidate, { act, rollouts: next });
    }
    this.#tell(ended);
    return live.state.revision === before
      ? `sallyport plugin rollback ${plugin} ${rollout.stable}`
      : `sallyport config rollback ${before}`;
  }

  async #pin(
    { route, plugin, state }: Rollout,
    version: string,
    { act, rollouts }: { act: Act; rollouts: readonly Rollout[] },
  ): Promise<void> {
    const message = `rollout of ${plugin} ${state}: ${version} on ${route}`;
    const pinned = (config: Config): Config => ({
      ...config,
      routes: (config.routes ?? []).map((each) =>
        each.name !== route
          ? each
          : {
              ...each,
              plugins: (each.plugins ?? []).map((attachment) =>
                attachment.plugin === plugin ? { ...attachment, version } : attachment,
              ),
            },
      ),
    });
    await this.#parts.edit(pinned, { actor: act.actor, message }, rollouts);
  }

  #tell(rollout: Rollout): void {
    const event = rollout.events.at(-1);
    if (event === undefined) return;
    const { route, plugin, stable, candidate, mode } = rollout;
    const facts = { route, plugin, stable, candidate, mode, ...event };
    const level = event.what === "aborted" ? "warn" : "info";
    this.#parts.log[level](`a rollout: ${event.what}`, facts);
    if (event.actor === GATEWAY) this.onAutomatic(facts);
  }

  // What is asked for.

  async #act(at: RolloutPlace, act: (rollout: Rollout) => Promise<string>): Promise<RolloutChange> {
    const beganMs = nowMs();
    return await this.#parts.live.exclusively(async () => {
      const rollout = this.#existing(at);
      if (!life.isActive(rollout)) {
        throw new ControlError(
          409,
          "rollout_over",
          `The rollout of ${at.plugin} on ${at.route} was ${rollout.state} already.`,
        );
      }
      const from = life.weightOf(rollout);
      const undo = await act(rollout);
      return this.#changed(this.#existing(at), from, { undo, beganMs });
    });
  }

  #changed(
    rollout: Rollout,
    from: number,
    { undo, beganMs }: { undo: string; beganMs: number },
  ): RolloutChange {
    const { revision } = this.#parts.live.state;
    const tookMs = Math.round((nowMs() - beganMs) * 10) / 10;
    return { view: this.#view(rollout), from, to: life.weightOf(rollout), revision, undo, tookMs };
  }

  #view(rollout: Rollout): RolloutView {
    return viewOf(rollout, this.#stats);
  }

  #find({ route, plugin }: RolloutPlace): Rollout | null {
    const { rollouts } = this.#parts.rollouts;
    return rollouts.find((each) => each.route === route && each.plugin === plugin) ?? null;
  }

  #existing(at: RolloutPlace): Rollout {
    const found = this.#find(at);
    if (found !== null) return found;
    throw new ControlError(
      404,
      "unknown_rollout",
      `There is no rollout of ${at.plugin} on route ${at.route}.`,
    );
  }

  async #passGate(at: RolloutPlace, candidate: string, gate: RolloutGate): Promise<void> {
    const report = await this.#parts.replay(at, candidate);
    const compared = report.same + report.different;
    const { minRequests, differenceRateMax } = gate;
    if (compared < minRequests) {
      throw new ControlError(
        409,
        "gate_not_yet",
        `The gate needs ${minRequests} recorded calls that can be compared; there are ${compared}.`,
        { replay: report },
      );
    }
    if (report.different <= compared * differenceRateMax) return;
    throw new ControlError(
      409,
      "gate_failed",
      `${candidate} decides ${report.different} of ${compared} recorded calls differently; the gate allows a share of ${differenceRateMax}. They are shown by: sallyport plugin replay ${at.plugin}@${candidate} --route ${at.route}`,
      { replay: report },
    );
  }

  // A shadow decides nothing and may be replaced; callers of a canary must not be moved about.
  #mustBeFree(before: Rollout | null, mode: Rollout["mode"]): void {
    if (before !== null && life.isActive(before) && before.mode === "canary") {
      throw new ControlError(
        409,
        "rollout_running",
        `A rollout to ${before.candidate} is under way here; promote or abort it first.`,
        { candidate: before.candidate },
      );
    }
    const active = this.#parts.rollouts.rollouts.filter(
      (each) => life.isActive(each) && each !== before,
    );
    const shadows = active.filter((each) => each.mode === "shadow").length;
    if (active.length < ACTIVE_MAX && (mode !== "shadow" || shadows < SHADOWS_MAX)) return;
    throw new ControlError(
      409,
      "too_many_rollouts",
      `At most ${ACTIVE_MAX} rollouts, and of them ${SHADOWS_MAX} shadows, go on at one time.`,
    );
  }
}

function now(actor: string, reason = ""): Act {
  return { at: new Date().toISOString(), actor, reason };
}
