// Every bound that is not a field of the configuration, with its unit in its name, and the
// relations between them. What is not bounded here or in the configuration is a defect.

export const LIMITS = {
  // The downstream connection.
  headBytesMax: 32_768,
  requestLineBytesMax: 16_384,
  headersMax: 128,
  pipelinedBytesMax: 65_536, // Parked behind a running request; then the socket is paused.
  chunkExtensionBytesMax: 16_384, // Per body, as llhttp bounds them.
  chunkSizeDigitsMax: 8,
  contentLengthDigitsMax: 15,
  trailerBytesMax: 16_384,
  proxyHeaderBytesMax: 552, // Version 2: 16 bytes and what fits the smallest TCP segment (536).
  heldConnectionsMax: 1024, // Accepted by the primary while no worker was ready.
  drainBodyBytesMax: 262_144, // Read and dropped after an early answer before the socket is closed.
  lingerMs: 1_000,
  // HTTP/2 from clients.
  h2StreamsMax: 100,
  h2WindowBytes: 262_144, // What a client may send of one body before it is taken.
  h2ResetsPerSecondMax: 200, // Refused heads included.
  h2UnexplainedBytesPerSecondMax: 262_144, // Read, but part of no request and answer to no response.
  h2TinyBytes: 8, // A part of a body below it costs more to handle than to send.
  h2TinyPerSecondMax: 1_000,
  h2LooksPerTickMax: 250, // At how many bytes a connection read: 0.6 us each.
  // Body bytes queued towards one peer before its source is paused.
  bodyHighWaterBytes: 65_536,
  // The upstream connection.
  responseHeadBytesMax: 65_536,
  responseHeadersMax: 256,
  interimResponsesMax: 16,
  h2OriginStreamsMax: 100,
  h2OriginSessionsMax: 16,
  // Responses up to this size are joined with their head and written as one string.
  smallBodyBytesMax: 32_768,
  // Timers.
  timerTickMs: 50,
  // Configuration.
  configBytesMax: 64 * 1024 * 1024,
  workersMax: 256,
  routesMax: 200_000,
  upstreamsMax: 20_000,
  consumersMax: 1_000_000,
  revisionsKept: 1_000,
  // Cluster.
  heartbeatMs: 250,
  heartbeatMissedMs: 2_000,
  commitMs: 10_000,
  tlsRenewMs: 10_000, // How soon a certificate that was replaced on disk is served.
  ticketKeysMs: 12 * 3_600_000,
  metricsPullMs: 5_000, // What a killed worker had counted since is lost.
  respawnMinMs: 50,
  respawnMaxMs: 5_000,
  buildSliceMs: 8, // A snapshot is built in slices, so that requests go on between them.
  // Uploaded plugins. So many kills in the window set a version aside, first for this long; each time
  // again for twice as long.
  pluginKillsMax: 5,
  pluginKillWindowMs: 10_000,
  pluginQuarantineMs: 30_000,
  pluginQuarantineMsMax: 3_600_000,
  pluginVersionsMax: 1_000, // Of one plugin, the retired ones included.
  // Admin.
  adminKeysMax: 256, // Each is compared with at every request.
  adminBodyBytesMax: 64 * 1024 * 1024,
  pluginBytesMax: 4 * 1024 * 1024,
  pluginSignatureBytesMax: 4096, // Without the base64 of its header.
} as const;

/** Throws when two bounds contradict each other; called once by the composition root. */
export function assertLimits(): void {
  const holds: [string, boolean][] = [
    ["a request line fits a head", LIMITS.requestLineBytesMax < LIMITS.headBytesMax],
    ["a parked head fits the pipeline", LIMITS.headBytesMax <= LIMITS.pipelinedBytesMax],
    [
      "a window of unread bytes may stay unexplained",
      LIMITS.h2WindowBytes <= LIMITS.h2UnexplainedBytesPerSecondMax,
    ],
    ["a small body fits one queue", LIMITS.smallBodyBytesMax <= LIMITS.bodyHighWaterBytes],
    ["a heartbeat is missed several times", LIMITS.heartbeatMs * 4 <= LIMITS.heartbeatMissedMs],
    ["a commit outlives a missed heartbeat", LIMITS.heartbeatMissedMs < LIMITS.commitMs],
    ["a module fits an admin body", LIMITS.pluginBytesMax <= LIMITS.adminBodyBytesMax],
  ];
  for (const [what, ok] of holds) {
    if (!ok) throw new Error(`limits contradict each other: ${what} does not hold`);
  }
}
