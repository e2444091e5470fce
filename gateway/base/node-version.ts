// The oldest Node that the gateway starts on. Below it there are known holes in what faces the network:
// the floor moves up with Node's security releases.

const FLOOR = [26, 5, 1] as const;

/** A sentence that says why this Node is too old; null when it will do. */
export function nodeFault(version: string): string | null {
  const found = version.replace(/^v/, "").split(".").map(Number);
  for (let i = 0; i < FLOOR.length; i++) {
    if (found[i] > FLOOR[i]) return null;
    if (found[i] < FLOOR[i] || Number.isNaN(found[i])) {
      return `Node ${version} is too old; ${FLOOR.join(".")} or newer is needed (npm ci brings one)`;
    }
  }
  return null;
}
