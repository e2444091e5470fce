// What routes have recorded, and replays of it, as the admin API sees them.

import { deserialize } from "node:v8";
import { ControlError } from "../../admin/api/control.ts";
import type { RecordingsControl, ReplayReport, RolloutPlace } from "../../admin/api/control.ts";
import { nowMs } from "../base/clock.ts";
import type { AttachmentConfig, RouteConfig } from "../config/schema.ts";
import type { CallRecord } from "../plugins/recorder.ts";
import { DEFAULT_REDACTION, showRequest, showSaid } from "../plugins/redact.ts";
import type { Witnessed } from "../plugins/witness.ts";
import type { Fleet } from "./fleet.ts";
import { evaluatorSetup, memoryPagesOf } from "./plugin-slots.ts";
import { replay } from "./replay.ts";
import type { ReplayedVersion } from "./replay.ts";
import { versionsAt } from "./rollout-versions.ts";
import type { VersionParts } from "./rollout-versions.ts";

/** Calls of one replay, the latest. */
const CALLS_MAX = 10_000;

export type ReplayControlParts = VersionParts & {
  readonly fleet: Fleet;
  /** Refuses a version that the configuration's trusted keys do not vouch for. */
  believe(name: string, version: string): Promise<void>;
};

export class ReplayControl implements RecordingsControl {
  readonly #parts: ReplayControlParts;
  /** Each takes a thread, and copies of all that a route has recorded. */
  #isReplaying = false;

  constructor(parts: ReplayControlParts) {
    this.#parts = parts;
  }

  async list(route: string, last: number): Promise<readonly object[]> {
    this.#recording(route);
    const records = await this.#parts.fleet.recordings(route);
    const calls = records.map(({ plugin, version, data }) => {
      const witnessed = deserialize(data) as Witnessed;
      return { plugin, version, witnessed };
    });
    calls.sort((a, b) => a.witnessed.atMs - b.witnessed.atMs);
    return calls.slice(-last).map(({ plugin, version, witnessed }) => ({
      at: new Date(witnessed.atMs).toISOString(),
      plugin,
      version,
      phase: witnessed.phase,
      request: showRequest(witnessed, DEFAULT_REDACTION),
      said: showSaid(witnessed.said, DEFAULT_REDACTION),
    }));
  }

  async replay(at: RolloutPlace, candidate: string): Promise<ReplayReport> {
    if (this.#isReplaying) {
      throw new ControlError(
        409,
        "replay_running",
        "Another replay runs; try again when it is done.",
      );
    }
    this.#isReplaying = true;
    try {
      return await this.#replay(at, candidate);
    } finally {
      this.#isReplaying = false;
    }
  }

  async #replay(at: RolloutPlace, candidate: string): Promise<ReplayReport> {
    const beganMs = nowMs();
    const { fleet } = this.#parts;
    this.#recording(at.route);
    const versions = versionsAt(this.#parts, at, candidate);
    await this.#parts.believe(at.plugin, candidate);
    const attachment = this.#attachment(at);
    const records = (await fleet.recordings(at.route)).filter(isOf(at.plugin)).slice(-CALLS_MAX);
    if (records.length === 0) {
      throw new ControlError(
        409,
        "nothing_recorded",
        `Route ${at.route} has recorded no call of ${at.plugin} yet; let some requests pass first.`,
      );
    }
    const counts = await replay({
      stable: await this.#version(at.plugin, versions.stable, attachment),
      candidate: await this.#version(at.plugin, candidate, attachment),
      records: records.map(({ data }) => data),
    });
    const tookMs = Math.round((nowMs() - beganMs) * 10) / 10;
    return { ...at, stable: versions.stable, candidate, ...counts, tookMs };
  }

  #recording(name: string): RouteConfig {
    const { routes } = this.#parts.live.state.served;
    const route = routes.find((each) => each.name === name);
    if (route === undefined) {
      throw new ControlError(404, "unknown_route", `There is no route ${name}.`);
    }
    if (route.record !== undefined) return route;
    throw new ControlError(
      409,
      "not_recording",
      `Route ${name} records nothing; add record: {} to it, and let some requests pass.`,
    );
  }

  // What was recorded does not say which of several attachments it was.
  #attachment({ route, plugin }: RolloutPlace): AttachmentConfig {
    const attachments = (this.#recording(route).plugins ?? []).filter(
      (each) => each.plugin === plugin,
    );
    if (attachments.length === 1) return attachments[0];
    const detail = `Route ${route} attaches ${plugin} ${attachments.length} times; one is needed.`;
    throw new ControlError(422, "not_attached", detail);
  }

  async #version(
    name: string,
    version: string,
    attachment: AttachmentConfig,
  ): Promise<ReplayedVersion> {
    const { plugins } = this.#parts;
    const known = plugins.registry.version(name, version);
    if (known === null) throw new Error(`${name}@${version} has gone`);
    const memoryPages = memoryPagesOf(attachment);
    const { bytes, manifest } = await plugins.preparedFor(known, memoryPages);
    return { bytes, ...evaluatorSetup(attachment, { manifest, memoryPages }) };
  }
}

function isOf(plugin: string): (record: CallRecord) => boolean {
  return (record) => record.plugin === plugin;
}
