// The peers, in the order of the tables.

import { caddy } from "./caddy.ts";
import { gateway } from "./gateway.ts";
import { haproxy } from "./haproxy.ts";
import { nginx } from "./nginx.ts";
import type { Peer } from "./peer.ts";

export const PEERS: readonly Peer[] = [gateway, haproxy, nginx, caddy];
