import type { KeyRing } from "../keys/key-ring.ts";
import type { WorkerSecretRecord } from "../keys/worker-secret-store.ts";
import { AdminRefusal, type AdminRoute } from "./admin-desk.ts";
import { parseFields, requiredName, workerSecretFields } from "./fields.ts";
import { isoTime } from "./key-routes.ts";

/** A worker secret as operators see it. */
export interface WorkerSecretView {
  id: string;
  name: string;
  prefix: string;
  created_at: string;
  revoked: boolean;
  revoked_at: string | null;
  models: string[] | null;
}

/** Makes, shows and revokes the secrets of workers. */
export function workerSecretRoutes(ring: KeyRing): AdminRoute[] {
  return [
    {
      method: "POST",
      path: "/admin/worker-secrets",
      async handle({ body }) {
        const { name, models } = parseFields(workerSecretFields, body);
        const { record, secret } = await ring.createWorkerSecret(requiredName(name), models ?? undefined);
        return { status: 201, body: { ...workerSecretView(record), secret } };
      },
    },
    {
      method: "GET",
      path: "/admin/worker-secrets",
      handle: () => ({
        status: 200,
        body: { worker_secrets: ring.workerSecrets().map(workerSecretView) },
      }),
    },
    {
      method: "DELETE",
      path: "/admin/worker-secrets/{id}",
      async handle({ id }) {
        if ((await ring.revokeWorkerSecret(id)) !== undefined) return { status: 204 };
        throw new AdminRefusal(404, "not_found", `There is no worker secret with id "${id.slice(0, 100)}"`);
      },
    },
  ];
}

function workerSecretView(record: WorkerSecretRecord): WorkerSecretView {
  return {
    id: record.id,
    name: record.name,
    prefix: record.prefix,
    created_at: new Date(record.createdAt).toISOString(),
    revoked: record.revokedAt !== undefined,
    revoked_at: isoTime(record.revokedAt),
    models: record.models ?? null,
  };
}
