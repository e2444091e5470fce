// JSON that is shown to people: on a terminal, in a log.

/**
 * JSON of a value, without a control character of either set. JSON.stringify leaves DEL and the second
 * set as they are, and terminals obey them.
 */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[\x7f-\x9f]/g,
    (char) => `\\u00${char.charCodeAt(0).toString(16)}`,
  );
}
