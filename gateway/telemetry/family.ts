// What the exposition is made of: families of samples, made while they are written out.

export type Labels = Readonly<Record<string, string>>;

export type Sample = {
  /** For the parts of a histogram. */
  readonly metricName?: string;
  readonly labels: Labels;
  readonly value: number;
};

export type Family = {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: Iterable<Sample>;
};
