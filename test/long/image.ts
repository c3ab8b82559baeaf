// Builds the Dockerfile where no registry can be reached, and runs the image as Docker would: read-only, without
// capabilities, as the user that it names. By hand, as root on Debian, in about two minutes:
//
//     apt-get install --no-install-recommends buildah podman runc debootstrap iptables netavark aardvark-dns
//     bun test/long/image.ts
//
// The base images are made of the Debian packages that distroless has, and of Debian with Bun, under their names.

import { $ } from "bun";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatBytes } from "../../src/base/bytes.ts";

const ROOT = join(import.meta.dir, "../..");
const BUN_IMAGE = /FROM \S+ (docker\.io\/oven\/bun\S+)/.exec(
  await Bun.file(join(ROOT, "Dockerfile")).text(),
)?.[1];
const BASE_IMAGE = "gcr.io/distroless/base-nossl-debian13:nonroot";
const IMAGE = "localhost/modelrelay:tried";
const PACKAGES = ["base-files", "libc6", "tzdata", "ca-certificates", "netbase", "media-types"];

/** No namespaces of its own: it runs inside of one, often. */
process.env["BUILDAH_ISOLATION"] = "chroot";
/** Limits that a container inside of a container can have, and control groups without systemd. */
const PODMAN = ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs"];
const LIMITS = ["--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"];
const HARDENED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const has = async (image: string): Promise<boolean> =>
  (await $`buildah inspect ${image}`.nothrow().quiet()).exitCode === 0;

async function commit(dir: string, image: string, config: string[]): Promise<void> {
  const container = (await $`buildah from scratch`.text()).trim();
  await $`buildah add --quiet ${container} ${dir} /`.quiet();
  if (config.length > 0) await $`buildah config ${config} ${container}`;
  await $`buildah commit --quiet --rm --format=docker ${container} ${image}`.quiet();
}

/** Debian's smallest set, with the Bun of this run. */
async function makeBunImage(work: string, image: string): Promise<void> {
  const dir = join(work, "bun");
  await $`debootstrap --variant=minbase bookworm ${dir}`.quiet();
  await $`cp --dereference ${process.execPath} ${dir}/usr/local/bin/bun`;
  // Where this machine reaches the package registry through an authority of its own.
  await $`mkdir -p ${dir}/etc/ssl && cp /etc/ssl/certs/ca-certificates.crt ${dir}/etc/ssl/registry.crt`;
  await commit(dir, image, ["--env=NODE_EXTRA_CA_CERTS=/etc/ssl/registry.crt"]);
}

/** The packages that distroless unpacks, and the user and files that it adds. */
async function makeBaseImage(work: string): Promise<void> {
  const [debs, dir] = [join(work, "debs"), join(work, "base")];
  const include = `--include=${PACKAGES.join(",")}`;
  await $`debootstrap --variant=minbase --download-only ${include} trixie ${debs}`.quiet();
  await $`mkdir -p ${dir}`;
  for (const name of PACKAGES) {
    const [file = ""] = [...new Bun.Glob(`var/cache/apt/archives/${name}_*.deb`).scanSync(debs)];
    await $`dpkg --extract ${join(debs, file)} ${dir}`;
  }
  await $`cat ${{ raw: `${dir}/usr/share/ca-certificates/mozilla/*.crt` }} > ${dir}/etc/ssl/certs/ca-certificates.crt`;
  await Bun.write(`${dir}/etc/passwd`, "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n");
  await Bun.write(`${dir}/etc/nsswitch.conf`, "hosts: files dns\n");
  await commit(dir, BASE_IMAGE, ["--user=65532", "--workingdir=/"]);
}

/** Resolves once the relay answers through its published port. */
async function answers(url: string): Promise<void> {
  for (;;) {
    if ((await fetch(`${url}/livez`).catch(() => undefined))?.ok === true) return;
    await Bun.sleep(100);
  }
}

const work = mkdtempSync(join(tmpdir(), "modelrelay-image-"));
const started: string[] = [];

async function start(name: string, flags: string[], command: string[]): Promise<void> {
  started.unshift(name);
  await $`${PODMAN} run --detach --name=${name} ${LIMITS} ${HARDENED} ${flags} ${IMAGE} ${command}`.quiet();
}

try {
  if (BUN_IMAGE === undefined) throw new Error("Cannot find the image of Bun in the Dockerfile");
  if (!(await has(BUN_IMAGE))) await makeBunImage(work, BUN_IMAGE);
  if (!(await has(BASE_IMAGE))) await makeBaseImage(work);
  const commitId = (await $`git rev-parse --short=10 HEAD`.cwd(ROOT).text()).trim();
  await $`buildah bud --pull-never --format=docker --build-arg=COMMIT=${commitId} --tag=${IMAGE} ${ROOT}`.quiet();
  const size = Number((await $`podman image inspect ${IMAGE} --format ${"{{.Size}}"}`.text()).trim());
  say(`built: ${formatBytes(size)}`);
  say((await $`${PODMAN} run --rm --no-healthcheck ${LIMITS} ${HARDENED} ${IMAGE} --version`.text()).trim());

  await start("tried-relay", ["--publish=127.0.0.1::8080", "--volume=tried-data:/var/lib/modelrelay"], []);
  const address = (await $`${PODMAN} port tried-relay 8080/tcp`.text()).trim();
  const url = `http://${address}`;
  await answers(url);
  const beside = ["--network=container:tried-relay", "--no-healthcheck"];
  await start("tried-model", beside, ["demo", "--listen", "127.0.0.1:8099"]);
  const secret = ["--volume=tried-data:/relay:ro", "--env=WORKER_SECRET_FILE=/relay/worker-secret"];
  await start("tried-worker", [...beside, ...secret, "--env=BACKEND_URL=http://127.0.0.1:8099"], ["worker"]);
  const health = await $`${PODMAN} healthcheck run tried-relay`.nothrow().quiet();
  say(`health check: exit code ${health.exitCode}`);
  const key = (await $`${PODMAN} exec tried-relay modelrelay keys create tried`.quiet().text()).trim();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "demo-echo", messages: [{ role: "user", content: "Hello" }] }),
  });
  say(`a chat: status ${response.status}, ${(await response.text()).length} bytes`);
  for (const name of ["tried-worker", "tried-relay"]) {
    await $`${PODMAN} stop --time=40 ${name}`.quiet();
    const code = (await $`${PODMAN} inspect ${name} --format ${"{{.State.ExitCode}}"}`.text()).trim();
    say(`${name} stopped: exit code ${code}`);
  }
} finally {
  for (const name of started) await $`${PODMAN} rm --force --time=1 ${name}`.nothrow().quiet();
  await $`${PODMAN} volume rm --force tried-data`.nothrow().quiet();
  rmSync(work, { recursive: true, force: true });
}
