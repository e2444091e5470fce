// A scenario: one kind of traffic, and who carries it. Baselines are what the subjects are compared
// with, round by round.

import { PEERS } from "../peers/all.ts";
import { gateway } from "../peers/gateway.ts";
import type { CertificateFiles, JwtSettings, Peer, WasmSettings, Work } from "../peers/peer.ts";

export type Traffic = {
  readonly method: "GET" | "POST";
  readonly bodyBytes: number;
  readonly replyBytes: number;
  /** Tokens are sent, another one with each request. */
  readonly tokens: boolean;
  /** Requests at a time on each connection of HTTP/2; null: HTTP/1.1, one at a time. */
  readonly streams: number | null;
};

export type Contender = {
  readonly label: string;
  readonly role: "subject" | "baseline";
  readonly peer: Peer;
  readonly work: Work;
};

/** What contenders may be given to work with. */
export type Fixtures = {
  readonly tls: CertificateFiles;
  readonly jwt: JwtSettings;
  readonly tokensFile: string;
  /** Example plugins that are built here. */
  readonly plugins: readonly WasmSettings[];
};

export type Scenario = {
  readonly name: string;
  readonly about: string;
  readonly traffic: Traffic;
  contenders(fixtures: Fixtures): readonly Contender[];
};

export const SMALL_REPLY: Traffic = {
  method: "GET",
  bodyBytes: 0,
  replyBytes: 200,
  tokens: false,
  streams: null,
};

/** The gateway and every other peer on the same work. */
export function gatewayAndPeers(work: Work): Contender[] {
  return PEERS.map((peer) => ({
    label: peer.name,
    role: peer === gateway ? "subject" : "baseline",
    peer,
    work,
  }));
}
