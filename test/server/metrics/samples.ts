/** Samples of a text of metrics, by name and labels as they stand there. */
export type Samples = Map<string, number>;

export function parseSamples(text: string): Samples {
  const samples: Samples = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const space = line.lastIndexOf(" ");
    const series = line.slice(0, space);
    if (samples.has(series)) throw new Error(`The series ${series} is there twice`);
    samples.set(series, Number(line.slice(space + 1).replace("Inf", "Infinity")));
  }
  return samples;
}

/** The samples of one family alone. */
export function family(samples: Samples, name: string): Record<string, number> {
  return Object.fromEntries([...samples].filter(([series]) => series.split("{")[0] === name));
}

export async function scrape(url: string, init: RequestInit = {}): Promise<Samples> {
  const response = await fetch(`${url}/metrics`, { keepalive: false, ...init });
  if (response.status !== 200) throw new Error(`The metrics answer ${response.status}`);
  return parseSamples(await response.text());
}

/** Scrapes until the samples are as they should be; each look waits for the last. */
export async function scrapeUntil(url: string, when: (samples: Samples) => boolean): Promise<Samples> {
  for (;;) {
    const samples = await scrape(url);
    if (when(samples)) return samples;
  }
}
