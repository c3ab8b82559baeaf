/**
 * The suites of TLS 1.2 with forward secrecy and authenticated encryption: Mozilla's "intermediate"
 * configuration without DHE, which all clients since 2014 speak. TLS 1.3 has no others.
 */
export const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");
