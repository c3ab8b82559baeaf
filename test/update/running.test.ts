import { describe, expect, test } from "bun:test";
import { serviceOf } from "../../src/update/running.ts";

describe("What runs an older version", () => {
  const groups: [group: string, service: string | undefined][] = [
    ["0::/system.slice/modelrelay.service\n", "serve"],
    ["0::/system.slice/system-modelrelay\\x2dworker.slice/modelrelay-worker@gpu-1.service\n", "worker gpu-1"],
    ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/modelrelay.service\n", "serve --user"],
    [
      "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-modelrelay\\x2dworker.slice/modelrelay-worker@a.service",
      "worker a --user",
    ],
    ["12:pids:/system.slice/modelrelay.service\n0::/system.slice/modelrelay.service\n", "serve"],
    ["0::/user.slice/user-1000.slice/session-2.scope\n", undefined],
    ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn.scope\n", undefined],
    // A shell in which somebody has started it, as a job of another service.
    ["0::/system.slice/runner.service\n", undefined],
    ["0::/system.slice/modelrelay-other.service\n", undefined],
    ["0::/\n", undefined],
    // Users name groups of their own as they like.
    ["0::/user.slice/modelrelay-worker@\u001b[2J.service\n", undefined],
    ["0::/user.slice/modelrelay-worker@a; reboot.service\n", undefined],
  ];
  test.each(groups)("in the control group %p is named as service restart takes it", (group, service) => {
    expect(serviceOf(group)).toBe(service);
  });
});
