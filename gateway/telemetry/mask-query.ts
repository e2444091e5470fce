// Credentials in query strings, kept out of logs. It errs on the side of masking: a parameter whose
// name merely contains a suspicious word loses its value in the log and nowhere else.

const WORDS = ["token", "key", "secret", "passw", "pwd", "auth", "credential", "signature", "jwt"];
const WHOLE_NAMES: ReadonlySet<string> = new Set(["sig", "pass", "code", "session", "sid", "otp"]);

/** The raw query with the values of credentials replaced by three asterisks. */
export function maskQuery(query: string): string {
  let masked = "";
  let copied = 0;
  let start = 0;
  while (start <= query.length) {
    let end = query.indexOf("&", start);
    if (end === -1) end = query.length;
    const equals = query.indexOf("=", start);
    if (equals !== -1 && equals < end && isSecretName(query.slice(start, equals))) {
      masked += `${query.slice(copied, equals)}=***`;
      copied = end;
    }
    start = end + 1;
  }
  // The common query is given back as it is.
  return copied === 0 ? query : masked + query.slice(copied);
}

function isSecretName(raw: string): boolean {
  const name = decode(raw).toLowerCase();
  return WHOLE_NAMES.has(name) || WORDS.some((word) => name.includes(word));
}

// The origin decodes names: `%74oken` is `token`. What cannot be decoded is taken as it is.
function decode(raw: string): string {
  if (!raw.includes("%")) return raw;
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}
