// Completion scripts for shells, made from the command tree, so that they never lag behind it.

import type { Command } from "commander";
import { CliError } from "./output.ts";

/** The script for a shell. */
export function completionScript(program: Command, shell: string): string {
  const words = wordsByPath(program);
  switch (shell) {
    case "bash":
      return bash(words);
    case "zsh":
      return `autoload -U +X bashcompinit && bashcompinit\n${bash(words)}`;
    case "fish":
      return fish(words);
    default:
      throw new CliError(`${shell} is not bash, zsh or fish`);
  }
}

// "" -> first words; "config" -> words after it.
function wordsByPath(program: Command): Map<string, string[]> {
  const words = new Map<string, string[]>();
  const visit = (command: Command, path: string) => {
    const subcommands = command.commands.map((each) => each.name());
    const options = command.options.flatMap(({ long }) => (long == null ? [] : [long]));
    words.set(path, [...subcommands, ...options, "--help"]);
    for (const each of command.commands) visit(each, `${path} ${each.name()}`.trim());
  };
  visit(program, "");
  return words;
}

function bash(words: ReadonlyMap<string, readonly string[]>): string {
  const cases = [...words].map(([path, list]) => `    "${path}") words="${list.join(" ")}" ;;`);
  return `_sallyport() {
  local path="" word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    [[ "$word" == -* ]] && continue
    path="\${path:+$path }$word"
  done
  case "$path" in
${cases.join("\n")}
  esac
  if [[ -n "$words" ]]; then
    COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
  else
    COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -o default -F _sallyport sallyport
`;
}

function fish(words: ReadonlyMap<string, readonly string[]>): string {
  const lines: string[] = [];
  for (const [path, list] of words) {
    const condition =
      path === ""
        ? "__fish_use_subcommand"
        : path
            .split(" ")
            .map((word) => `__fish_seen_subcommand_from ${word}`)
            .join("; and ");
    const plain = list.filter((word) => !word.startsWith("--"));
    if (plain.length > 0)
      lines.push(`complete -c sallyport -n "${condition}" -f -a "${plain.join(" ")}"`);
    for (const option of list.filter((word) => word.startsWith("--"))) {
      lines.push(`complete -c sallyport -n "${condition}" -l ${option.slice(2)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
