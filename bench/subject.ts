/** Something that answers `/v1/chat/completions` and is measured. */
export interface Subject {
  readonly name: string;
  /** Where `/v1` stands. */
  readonly baseUrl: string;
  /** Its processes by role, for CPU and memory; none for the backend itself and for a foreign peer. */
  readonly processes: Readonly<Record<string, readonly number[]>>;
  stop(): Promise<void>;
}

/** Every process of a subject. */
export function pidsOf(subject: Subject): number[] {
  return Object.values(subject.processes).flat();
}
