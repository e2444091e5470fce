// sallyport status and drain.

import type { AdminClient } from "../../client.ts";
import type { ShownStatus } from "../../api/routes/status.ts";
import { EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";
import { isOver } from "./rollout-text.ts";
import type { ShownRollout } from "./rollout-text.ts";

export async function statusCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<ShownStatus>("GET", "/admin/status");
  const { body: rollouts } = await client.call<readonly ShownRollout[]>("GET", "/admin/rollouts");
  const active = rollouts
    .filter((each) => !isOver(each))
    .map(({ route, plugin, mode, state, weight }) => ({ route, plugin, mode, state, weight }));
  output.result({ ...body, rollouts: active }, () => {
    const { version, pid, state, revision, routes, plugins, listeners, workers } = body;
    const lines = [
      `sallyport ${version}, pid ${pid}, ${state}; revision ${revision}, ${routes} routes, ${plugins} plugins`,
      ...listeners.map(
        ({ name, address, tls }) => `listens  ${name} ${tls ? "https" : "http"}://${address}`,
      ),
      ...rolloutsText(active),
      table([
        ["WORKER", "PID", "STATE", "CONNECTIONS", "REQUESTS", "RSS MB", "SINCE"],
        ...workers.map((worker) => [
          String(worker.id),
          String(worker.pid),
          worker.state,
          String(worker.connections),
          String(worker.requests),
          String(Math.round(worker.rss_bytes / 1e6)),
          worker.started_at,
        ]),
      ]),
    ];
    return lines.join("\n");
  });
  return body.state === "running" ? EXIT.ok : EXIT.no;
}

type ActiveRollout = Pick<ShownRollout, "route" | "plugin" | "mode" | "state" | "weight">;

function rolloutsText(active: readonly ActiveRollout[]): string[] {
  if (active.length === 0) return [];
  const each = active.map(({ route, plugin, mode, state, weight }) => {
    const share = mode === "shadow" ? "shadow" : `${weight} %`;
    return `${plugin} on ${route} ${share}${state === "paused" ? " (paused)" : ""}`;
  });
  return [`rollouts ${active.length} under way: ${each.join(", ")}`];
}

export async function drainCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<{ state: string }>("POST", "/admin/drain");
  output.result(body, () => "draining: requests under way are ended, then the gateway stops");
  return EXIT.ok;
}
