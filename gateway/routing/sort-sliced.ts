// A stable merge sort that can be interrupted: sorting 100,000 routes at once would hold up requests
// for tens of milliseconds. Never changes its input.

/** Sorts a copy and yields after every `workPerSlice` placed elements. */
export function* sortSliced<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
  workPerSlice: number,
): Generator<void, T[]> {
  let from = [...items];
  let work = 0;
  for (let width = 1; width < from.length; width *= 2) {
    const to: T[] = [];
    for (let start = 0; start < from.length; start += width * 2) {
      const middle = Math.min(start + width, from.length);
      const end = Math.min(start + width * 2, from.length);
      let left = start;
      let right = middle;
      while (left < middle || right < end) {
        const takeLeft = right === end || (left < middle && compare(from[left], from[right]) <= 0);
        to.push(takeLeft ? from[left++] : from[right++]);
        if (++work % workPerSlice === 0) yield;
      }
    }
    from = to;
  }
  return from;
}
