import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { lacksPart, requirePart } from "../support/parts.ts";
import { startSecureRelay, type SecureRelay } from "./rig.ts";

/** The parts of sslyze's report that are looked at; each command's result lies under its name. */
interface Scan {
  [command: string]: { status: string; result: unknown };
}

async function scan(relay: SecureRelay): Promise<Scan & { compliance: string }> {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-sslyze-"));
  try {
    const report = join(dir, "report.json");
    const { stdout, stderr } = await runProgram([
      requirePart("sslyze"),
      "-m",
      "sslyze",
      `127.0.0.1:${relay.port}`,
      "--sni=localhost",
      `--certinfo_ca_file=${relay.caFile}`,
      `--json_out=${report}`,
    ]);
    const read = JSON.parse(readFileSync(report, "utf8"));
    expect(read.server_scan_results[0].connectivity_status, stderr).toBe("COMPLETED");
    return {
      ...read.server_scan_results[0].scan_result,
      compliance: stdout.slice(stdout.indexOf("COMPLIANCE")),
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const accepted = (found: unknown): string[] =>
  (found as { accepted_cipher_suites: { cipher_suite: { name: string } }[] }).accepted_cipher_suites
    .map(({ cipher_suite }) => cipher_suite.name)
    .sort();

const suites = (key: string): string[] => [
  `TLS_ECDHE_${key}_WITH_AES_128_GCM_SHA256`,
  `TLS_ECDHE_${key}_WITH_AES_256_GCM_SHA384`,
  `TLS_ECDHE_${key}_WITH_CHACHA20_POLY1305_SHA256`,
];

describe.skipIf(lacksPart("sslyze"))("A TLS scan of the executable", () => {
  for (const [key, name] of [
    ["ec", "ECDSA"],
    ["rsa", "RSA"],
  ] as const) {
    test(`with a key of ${name} finds TLS 1.2 and 1.3 with good ciphers alone, and none of the known attacks`, async () => {
      await using relay = await startSecureRelay({ key });
      const found = await scan(relay);
      const of = (command: string) => found[command]!.result;
      expect({
        ssl2: accepted(of("ssl_2_0_cipher_suites")),
        ssl3: accepted(of("ssl_3_0_cipher_suites")),
        tls10: accepted(of("tls_1_0_cipher_suites")),
        tls11: accepted(of("tls_1_1_cipher_suites")),
        tls12: accepted(of("tls_1_2_cipher_suites")),
        tls13: accepted(of("tls_1_3_cipher_suites")),
        compression: of("tls_compression"),
        heartbleed: of("heartbleed"),
        robot: of("robot"),
        ccsInjection: of("openssl_ccs_injection"),
        renegotiation: of("session_renegotiation"),
        fallback: of("tls_fallback_scsv"),
        masterSecret: of("tls_extended_master_secret"),
      }).toEqual({
        ssl2: [],
        ssl3: [],
        tls10: [],
        tls11: [],
        tls12: suites(name),
        tls13: ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
        compression: { supports_compression: false },
        heartbleed: { is_vulnerable_to_heartbleed: false },
        robot: { robot_result: "NOT_VULNERABLE_RSA_NOT_SUPPORTED" },
        ccsInjection: { is_vulnerable_to_ccs_injection: false },
        renegotiation: {
          client_renegotiations_success_count: 0,
          is_vulnerable_to_client_renegotiation_dos: false,
          supports_secure_renegotiation: true,
        },
        fallback: { supports_fallback_scsv: true },
        masterSecret: { supports_ems_extension: true },
      });
      expect(found.compliance).toContain(`127.0.0.1:${relay.port}: OK - Compliant.`);
    });
  }
});
