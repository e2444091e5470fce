// The nearest known word to a mistyped one: the suggestion behind "did you mean". Work is bounded:
// long words are not compared, and only the first words of a long list are.

const DISTANCE_MAX = 2;
const WORD_CHARS_MAX = 64;
const CANDIDATES_MAX = 20_000;

/**
 * The nearest of the known words, at most two edits away and less for short words, or undefined.
 * Of equally near ones that with the same first letter wins, then the first: first letters are
 * seldom mistyped.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length === 0 || word.length > WORD_CHARS_MAX) return undefined;
  const lower = word.toLowerCase();
  let best: string | undefined;
  let bestScore = Math.min(DISTANCE_MAX, Math.max(1, word.length >> 1)) + 0.75;
  let tried = 0;
  for (const candidate of known) {
    if (++tried > CANDIDATES_MAX) break;
    if (Math.abs(candidate.length - word.length) > bestScore) continue;
    const other = candidate.toLowerCase();
    // What remains of a candidate must be more than the edits, or any two-letter word would do.
    const distance = editDistance(lower, other);
    if (distance >= Math.max(word.length, candidate.length)) continue;
    const score = distance + (lower[0] === other[0] ? 0 : 0.5);
    if (score < bestScore) {
      best = candidate;
      bestScore = score;
    }
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours between two words. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, before[j - 2] + 1);
      }
      row.push(best);
    }
    before = above;
    above = row;
  }
  return above[b.length];
}
