import { messageOf } from "../src/base/errors.ts";
import type { Job, JobResult } from "./job.ts";
import { runRequests } from "./requests.ts";
import { runStreams } from "./streams.ts";

/** What the generator's process answers to a {@link Job}. */
export type LoadAnswer = { result: JobResult } | { error: string };

export function runJob(job: Job): Promise<JobResult> {
  return job.kind === "requests" ? runRequests(job) : runStreams(job);
}

/** The process: a job comes in over the channel to its parent, its result goes back. */
function serveParent(): void {
  const answer = (message: LoadAnswer) => process.send?.(message);
  process.on("message", (job: Job) => {
    runJob(job).then(
      (result) => answer({ result }),
      (error: unknown) => answer({ error: messageOf(error) }),
    );
  });
  // Without a parent there is nobody to work for.
  process.on("disconnect", () => process.exit(0));
}

if (import.meta.main) serveParent();
