// One hash of texts for everything that spreads clients over places: the same in every worker, on every
// machine and after every restart.

/**
 * FNV-1a with a final mix, 32 bits. The texts are client data: whoever can choose them can choose their
 * place, so nothing but evenness may hang on it.
 */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
