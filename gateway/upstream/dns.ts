// A target's name, resolved again and again. A failure keeps the last good addresses: a resolver that
// is down must not take the upstream with it.

import { lookup as systemLookup } from "node:dns/promises";

const ADDRESSES_MAX = 64;

export type ResolverOptions = {
  readonly host: string;
  readonly refreshMs: number;
  /** Addresses of a name; the system's way, hosts file included, when left out. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  /** Called with the sorted addresses whenever they differ from the last ones. */
  onChange(addresses: readonly string[]): void;
  onError(error: unknown): void;
};

/** Resolves now and then every `refreshMs` after the last answer, until closed. */
export function createResolver(options: ResolverOptions): { close(): void } {
  const lookup = options.lookup ?? lookupAll;
  let known = "";
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  const refresh = async () => {
    try {
      const addresses = [...new Set(await lookup(options.host))].sort().slice(0, ADDRESSES_MAX);
      const text = addresses.join();
      if (!closed && text !== "" && text !== known) {
        known = text;
        options.onChange(addresses);
      }
    } catch (error) {
      if (!closed) options.onError(error);
    }
    if (closed) return;
    timer = setTimeout(() => void refresh(), options.refreshMs);
    timer.unref();
  };
  void refresh();
  return {
    close: () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
    },
  };
}

async function lookupAll(host: string): Promise<readonly string[]> {
  const found = await systemLookup(host, { all: true });
  return found.map(({ address }) => address);
}
