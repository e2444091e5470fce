// Rollouts as metrics: those under way, and the last one of each route and plugin after its end. The
// primary counts them, so they come as plain data beside the workers' rows.

import type { Family, Labels, Sample } from "./family.ts";

const STATES = ["running", "paused", "promoted", "aborted"] as const;
const OUTCOMES = ["same", "different", "incomparable", "skipped"] as const;

/** What one version did. */
export type ArmFacts = {
  readonly calls: number;
  readonly denied: number;
  readonly faults: Readonly<Record<string, number>>;
};

export type RolloutFacts = {
  readonly route: string;
  readonly plugin: string;
  /** Versions. */
  readonly stable: string;
  readonly candidate: string;
  readonly mode: string;
  readonly state: (typeof STATES)[number];
  readonly weight: number;
  readonly arms: { readonly stable: ArmFacts; readonly candidate: ArmFacts };
  /** Compared decisions; null for a canary. */
  readonly shadow: Readonly<Record<(typeof OUTCOMES)[number], number>> | null;
};

export function rolloutFamilies(rollouts: readonly RolloutFacts[]): Family[] {
  return [
    {
      name: "sallyport_rollout_weight_percent",
      help: "Share of the callers that the candidate decides for.",
      type: "gauge",
      samples: rollouts.map((one) => ({ labels: labelsOf(one), value: one.weight })),
    },
    {
      name: "sallyport_rollout_state",
      help: "1 for the state that a rollout is in.",
      type: "gauge",
      samples: rollouts.flatMap((one) =>
        STATES.map((state) => ({
          labels: { ...labelsOf(one), state },
          value: state === one.state ? 1 : 0,
        })),
      ),
    },
    {
      name: "sallyport_rollout_calls_total",
      help: "Calls of either version since the rollout began.",
      type: "counter",
      samples: ofArms(rollouts, ({ calls }, labels) => [{ labels, value: calls }]),
    },
    {
      name: "sallyport_rollout_errors_total",
      help: "Failed calls of either version since the rollout began, by what failed.",
      type: "counter",
      samples: ofArms(rollouts, ({ faults }, labels) =>
        Object.entries(faults).map(([fault, value]) => ({ labels: { ...labels, fault }, value })),
      ),
    },
    {
      name: "sallyport_rollout_denied_total",
      help: "Requests that either version denied since the rollout began.",
      type: "counter",
      samples: ofArms(rollouts, ({ denied }, labels) => [{ labels, value: denied }]),
    },
    {
      name: "sallyport_rollout_shadow_total",
      help: "Decisions of a shadow beside those that were taken.",
      type: "counter",
      samples: rollouts.flatMap(({ route, plugin, candidate, shadow }) =>
        shadow === null
          ? []
          : OUTCOMES.map((outcome) => ({
              labels: { route, plugin, candidate, outcome },
              value: shadow[outcome],
            })),
      ),
    },
  ];
}

function labelsOf({ route, plugin, stable, candidate, mode }: RolloutFacts): Labels {
  return { route, plugin, stable, candidate, mode };
}

function ofArms(
  rollouts: readonly RolloutFacts[],
  of: (arm: ArmFacts, labels: Labels) => readonly Sample[],
): Sample[] {
  return rollouts.flatMap(({ route, plugin, arms, ...versions }) =>
    (["stable", "candidate"] as const).flatMap((arm) =>
      of(arms[arm], { route, plugin, version: versions[arm], arm }),
    ),
  );
}
