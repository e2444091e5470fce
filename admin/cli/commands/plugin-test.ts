// sallyport plugin test: builds a plugin and runs its golden cases, once or at every save.

import { buildPlugin } from "../author/build-plugin.ts";
import type { Built } from "../author/build-plugin.ts";
import { readCases } from "../author/cases.ts";
import type { GoldenCase } from "../author/cases.ts";
import type { Timing } from "../author/bench.ts";
import type { Coverage } from "../author/coverage.ts";
import { failureText, runCases } from "../author/run-cases.ts";
import type { CaseResult } from "../author/run-cases.ts";
import { changeOf, folderState } from "../author/watch.ts";
import { CliError, EXIT, reportError } from "../output.ts";
import type { Output } from "../output.ts";
import { buildOrTell, builtText, factsOf } from "./plugin-build.ts";

export type TestOptions = {
  readonly watch?: boolean;
  readonly coverage?: boolean;
  readonly bench?: boolean;
  readonly output: Output;
};

export async function testCommand(folder: string, options: TestOptions): Promise<number> {
  if (options.watch !== true) return await testOnce(folder, options);
  for (let state = ""; ; state = await changeOf(folder, state)) {
    // Not what it was while it was tested: a save in between is tested too.
    state ||= await folderState(folder);
    await testOnce(folder, options).catch((error: unknown) => reportError(error, options.output));
    options.output.note(`waiting for a change in ${folder}`);
  }
}

async function testOnce(folder: string, options: TestOptions): Promise<number> {
  const { output } = options;
  const cases = needCases(folder);
  const built = await buildOrTell(folder, output);
  if (built === null) return EXIT.no;
  const results = await runCases(built, cases);
  const coverage = options.coverage === true ? await coverageOf(built, cases) : null;
  const timings = options.bench === true ? await timingsOf(built, cases) : null;
  const failed = results.filter(({ passed }) => !passed).length;
  const passed = results.length - failed;
  output.result({ ...factsOf(built), passed, failed, cases: results, coverage, timings }, () =>
    [
      builtText(built),
      ...results.map(resultText),
      ...(coverage === null ? [] : [coverageText(coverage)]),
      ...(timings ?? []).map(timingText),
      `${passed} passed, ${failed} failed`,
    ].join("\n"),
  );
  return failed === 0 ? EXIT.ok : EXIT.no;
}

/** The folder's cases; there must be some. */
export function needCases(folder: string): [file: string, golden: GoldenCase][] {
  const cases = readCases(folder);
  if (cases.length > 0) return cases;
  const example = '{"request": {}, "expect": {"action": "continue"}}';
  throw new CliError(`${folder} has no cases: put one into cases/first.json, such as ${example}`);
}

/** One case as lines: what differs, what failed, how to run it again. */
export function resultText({
  file,
  passed,
  differences,
  failure,
  usage,
  replay,
}: CaseResult): string {
  if (passed) return `ok    ${file}`;
  const lines = differences.flatMap(({ at, expected, found }) => [
    `- ${at}: ${shown(expected)}`,
    `+ ${at}: ${shown(found)}`,
  ]);
  if (failure !== null) lines.push(...failureText(failure, usage));
  lines.push(`replay: ${replay}`);
  return [`FAIL  ${file}  (- expected, + found)`, ...lines.map((line) => `      ${line}`)].join(
    "\n",
  );
}

function shown(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}

async function coverageOf(
  { project }: Built,
  cases: readonly [string, GoldenCase][],
): Promise<Coverage> {
  if (project.language === null) {
    throw new CliError(`--coverage builds the source anew, and ${project.folder} has none`);
  }
  const { measureCoverage } = await import("../author/coverage.ts");
  return await measureCoverage(await buildPlugin(project, "plain"), cases);
}

async function timingsOf(
  built: Built,
  cases: readonly [string, GoldenCase][],
): Promise<readonly Timing[]> {
  const { benchCase } = await import("../author/bench.ts");
  const timings: Timing[] = [];
  for (const [file, golden] of cases) timings.push(await benchCase(built, file, golden));
  return timings;
}

function coverageText({ reached, functions, missed }: Coverage): string {
  const lines = missed.map((name) => `      not reached: ${name}`);
  return [`coverage: ${reached} of ${functions} functions`, ...lines].join("\n");
}

function timingText({ file, p50_us: p50, p99_us: p99, calls_per_s: rate }: Timing): string {
  const calls = rate.toLocaleString("en");
  return `bench ${file}: p50 ${p50} us, p99 ${p99} us, ${calls} calls/s on one core`;
}
