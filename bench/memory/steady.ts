// How large a worker is that has passed on bodies for minutes: 1 MiB up and 1 MiB down with each
// request, on 64 connections.

import { setTimeout as pause } from "node:timers/promises";
import { PATH } from "../load/check.ts";
import { allowedCpus } from "../load/children.ts";
import { findLoadTool } from "../load/client.ts";
import { startOrigin } from "../load/origin.ts";
import { freePort } from "../load/run.ts";
import { HOST } from "../peers/peer.ts";
import { startSubject } from "./subject.ts";
import type { Finding, Run } from "./subject.ts";

const MIB = 2 ** 20;
const CONNECTIONS = 64;
const ROUND_SECONDS = 10;
const REST_MS = 10_000;
const TARGET_BYTES = 100e6;

export async function measureSteady(run: Run, minutes: number): Promise<Finding> {
  const originPort = await freePort();
  const cpus = allowedCpus();
  await using started = new AsyncDisposableStack();
  const origin = await startOrigin(run.children, { port: originPort, replyBytes: MIB, cpus });
  started.defer(() => origin.stop());
  const subject = started.use(await startSubject(run, { originPort, tls: null }));
  const tool = findLoadTool(run.children, cpus);
  const rounds = Math.max(1, Math.round((minutes * 60) / ROUND_SECONDS));
  const url = `http://${HOST}:${subject.port}${PATH}`;
  const load = { url, method: "POST", bodyBytes: MIB, tokensFile: null } as const;
  let bytes = 0;
  for (let round = 1; round <= rounds; round++) {
    const options = { ...load, connections: CONNECTIONS, seconds: ROUND_SECONDS };
    const { requests, refused, lost } = await tool.run(options);
    if (requests === 0 || refused + lost > 0) {
      throw new Error(`${requests} answers, ${refused} refused, ${lost} lost`);
    }
    bytes = subject.rssBytes;
    run.say(`steady ${round}/${rounds}: ${requests} requests, RSS ${megabytes(bytes)} MB`);
  }
  await pause(REST_MS);
  const peak = megabytes(subject.peakRssBytes);
  return {
    what: `a worker after ${(rounds * ROUND_SECONDS) / 60} min of 1 MiB bodies`,
    bytes,
    unit: "MB",
    targetBytes: TARGET_BYTES,
    more: `RSS; ${peak} MB at its peak, ${megabytes(subject.rssBytes)} MB after 10 s of rest`,
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
