// Lines of the gateway's log.

import { logInfo, logWarn } from "./host";
import { give } from "./text";

export namespace Log {
  export function info(line: string): void { logInfo(give(line)); }
  export function warn(line: string): void { logWarn(give(line)); }
}
