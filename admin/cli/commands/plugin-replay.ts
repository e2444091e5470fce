// sallyport plugin replay: another version on what a route has recorded.

import type { AdminClient } from "../../client.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";
import { differenceText } from "./difference-text.ts";
import type { ShownDifference } from "./difference-text.ts";

type Report = {
  readonly stable: string;
  readonly candidate: string;
  readonly calls: number;
  readonly same: number;
  readonly different: number;
  readonly incomparable: number;
  readonly drifted: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly by: Readonly<Record<string, number>>;
  readonly differences: readonly ShownDifference[];
  readonly took_ms: number;
};

export type ReplayOptions = {
  readonly route: string;
  /** Differences to show. */
  readonly last: number;
};

/** Exit code 0 when no decision differs, 1 when some do. */
export async function replayCommand(
  spec: string,
  options: ReplayOptions,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const [name, version, ...rest] = spec.split("@");
  if (name === "" || version === undefined || version === "" || rest.length > 0) {
    throw new CliError(`NAME@VERSION is needed, such as authz@2.0.0, not ${spec}`);
  }
  const path = `/admin/plugins/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/replay`;
  const body = JSON.stringify({ route: options.route });
  const { body: report } = await client.call<Report>("POST", path, { body });
  output.result(report, () => reportText(name, report, options));
  return report.different === 0 ? EXIT.ok : EXIT.no;
}

function reportText(name: string, report: Report, { route, last }: ReplayOptions): string {
  const { stable, candidate, calls, same, different, incomparable, drifted } = report;
  const lines = [
    `${name} ${stable} -> ${candidate} on ${calls} recorded calls of route ${route} (${report.took_ms} ms)`,
    `same ${same}, different ${different}${countsText(report.by)}, incomparable ${incomparable}`,
  ];
  if (Object.keys(report.faults).length > 0) {
    lines.push(`the candidate failed${countsText(report.faults)}`);
  }
  if (drifted > 0) {
    lines.push(
      `${drifted} calls: ${stable} itself decides otherwise than was recorded, since it decides by secrets that were left out, or by what it keeps`,
    );
  }
  if (incomparable > 0) lines.push("incomparable: it asked its host what was not recorded");
  const shown = report.differences.slice(0, last);
  for (const difference of shown) lines.push("", differenceText(difference));
  if (different > shown.length)
    lines.push("", `${different - shown.length} more; --last N shows them`);
  return lines.join("\n");
}

function countsText(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([what, count]) => `${what} ${count}`);
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}
