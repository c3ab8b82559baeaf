import { connect } from "node:tls";

/** Serial of the certificate that a new connection is shown, in lower case. */
export function servedSerial(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      resolve(serialNumber.toLowerCase());
    });
    socket.once("error", reject);
  });
}
