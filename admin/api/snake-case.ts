// Our own values as the API's JSON: keys in snake_case.

/** Whose keys are data and not ours. */
const DATA_KEYS = ["headers", "requestHeaders", "responseHeaders", "values", "faults", "by"];

/** The same with other keys; those of maps that others named stay as they are. */
export function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, each]) => [
    key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    DATA_KEYS.includes(key) ? each : snakeCased(each),
  ]);
  return Object.fromEntries(entries);
}
