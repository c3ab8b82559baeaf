import { describe, expect, test } from "bun:test";
import { FRAME } from "../../src/protocol/frames.ts";
import { CLOSE, V2_MAX_BODY, V2_MAX_CREDIT, V2_MAX_TEXT } from "../../src/protocol/limits.ts";
import { errorOf, RelayEnd, WINDOW, WorkerEnd } from "../fuzz/ends.ts";
import { Random } from "../fuzz/random.ts";
import {
  ackFrame,
  creditFrame,
  frameOf,
  headFrame,
  joined,
  jsonFrame,
  REGISTER,
  requestFrame,
  type Bytes,
} from "../fuzz/wire.ts";

/** What a peer does, and what it is told. */
interface Offence {
  what: string;
  /** Frames that are fine, and then the one that is not. */
  frames: Bytes[];
  code?: number;
  message: RegExp | string;
}

const control = (value: unknown): Bytes => jsonFrame(FRAME.control, 0, value);
const bodyFrame = (number: number, length: number): Bytes =>
  frameOf(FRAME.body, number, new Uint8Array(length));
const text = (type: number, payload: string | Uint8Array, number = 0): Bytes =>
  frameOf(type, number, Buffer.from(payload));

/** JSON that is none, in every frame that holds some. */
function badJson(frames: [type: number, what: string][], before: Bytes[] = []): Offence[] {
  const bad: [string, Uint8Array, RegExp][] = [
    ["no JSON", Buffer.from('{"status":'), /^Cannot read an? [a-z ]+: it is not JSON$/],
    ["nothing at all", Buffer.alloc(0), /it is not JSON$/],
    ["no object", Buffer.from("[1]"), /it is not a JSON object$/],
    ["null", Buffer.from("null"), /it is not a JSON object$/],
    ["invalid UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /it is not JSON$/],
    ["a byte order mark", Buffer.from("\ufeff{}"), /it is not JSON$/],
    ["brackets a million deep", Buffer.alloc(V2_MAX_TEXT, "["), /it is not JSON$/],
    ["a megabyte of one word", Buffer.alloc(V2_MAX_TEXT, "x"), /it is not JSON$/],
  ];
  return frames.flatMap(([type, what]) =>
    bad.map(([kind, payload, message]) => ({
      what: `sends ${what} that is ${kind}`,
      frames: [...before, text(type, payload, type === FRAME.control ? 0 : 1)],
      message,
    })),
  );
}

/** By a worker that has registered and holds request 1, of which it may be sent `WINDOW` bytes of body. */
const OF_WORKERS: Offence[] = [
  { what: "registers twice", frames: [REGISTER], message: "Cannot register twice on one link" },
  {
    what: "sends a body before its head",
    frames: [bodyFrame(1, 1)],
    message: "Cannot take a body before its head",
  },
  {
    what: "ends a response without a head",
    frames: [frameOf(FRAME.end, 1)],
    message: "Cannot end a response that has no head",
  },
  {
    what: "sends a second head",
    frames: [headFrame(1), headFrame(1)],
    message: "Cannot take a second head for one response",
  },
  {
    what: "sends more of a body than the window",
    frames: [headFrame(1), bodyFrame(1, WINDOW), bodyFrame(1, 1)],
    code: CLOSE.flow,
    message: "Cannot take more of a body than there is room for",
  },
  ...[FRAME.head, FRAME.body, FRAME.end, FRAME.fail, FRAME.credit].flatMap((type) =>
    [0, 2, 0xffff_ffff].map((number) => ({
      what: `sends type ${type} for request ${number}, which never was`,
      frames: [type === FRAME.credit ? creditFrame(number, 1) : frameOf(type, number)],
      message: `Cannot take a frame for request ${number}: there was none`,
    })),
  ),
  {
    what: "grants more than a credit can hold",
    frames: [creditFrame(1, V2_MAX_CREDIT)],
    code: CLOSE.flow,
    message: /^Cannot take a credit of 4294967295 bytes beside \d+: 4294967295 are allowed$/,
  },
  {
    what: "sends a credit of three bytes",
    frames: [frameOf(FRAME.credit, 1, new Uint8Array(3))],
    message: "Cannot read a credit: it has four bytes",
  },
  {
    what: "sends a pong of three bytes",
    frames: [frameOf(FRAME.pong, 0, new Uint8Array(3))],
    message: "Cannot read a pong: it is too short",
  },
  {
    what: "sends a frame that is too long",
    frames: [headFrame(1), frameOf(FRAME.body, 1, new Uint8Array(V2_MAX_BODY + 1))],
    code: CLOSE.tooLarge,
    message: `Cannot take a frame of type 4 with ${V2_MAX_BODY + 1} bytes: ${V2_MAX_BODY} are allowed`,
  },
  {
    what: "acknowledges what was not sent",
    frames: [ackFrame(3)],
    message: "Cannot take an acknowledgement of 3 frames: 0 to 2 are possible",
  },
  {
    what: "acknowledges less than before",
    frames: [ackFrame(2), ackFrame(1)],
    message: "Cannot take an acknowledgement of 1 frames: 2 to 2 are possible",
  },
  {
    what: "sends a head without a status",
    frames: [jsonFrame(FRAME.head, 1, { headers: {} })],
    message: 'Cannot read a message: "status" must be a whole number',
  },
  {
    what: "sends a head with a status of words",
    frames: [jsonFrame(FRAME.head, 1, { status: "200" })],
    message: 'Cannot read a message: "status" must be a whole number',
  },
  {
    what: "fails without a code",
    frames: [jsonFrame(FRAME.fail, 1, { status: 502, message: "m" })],
    message: 'Cannot read a message: "code" must be a string',
  },
  {
    what: "sends a control frame without a type",
    frames: [control({})],
    message: 'Cannot read a message: "type" must be a string',
  },
  {
    what: "updates its models with numbers",
    frames: [control({ type: "models_update", models: [1], current_load: 0 })],
    message: 'Cannot read "models_update": "models" must be an array of strings',
  },
  ...badJson([
    [FRAME.control, "a control frame"],
    [FRAME.head, "a head"],
    [FRAME.fail, "a failure"],
  ]),
  {
    what: "ends with JSON that is none",
    frames: [headFrame(1), text(FRAME.end, "{", 1)],
    message: "Cannot read an end: it is not JSON",
  },
];

const UNREGISTERED: Offence[] = [
  ...[FRAME.head, FRAME.body, FRAME.end, FRAME.fail, FRAME.credit, FRAME.pong, FRAME.resume, 0x42, 0xf0].map(
    (type) => ({
      what: `sends type ${type}`,
      frames: [frameOf(type, 1, new Uint8Array(type === FRAME.credit ? 4 : 0))],
      message: "Cannot take a frame before the registration",
    }),
  ),
  {
    what: "updates its models",
    frames: [control({ type: "models_update", models: [], current_load: 0 })],
    message: 'Cannot take "models_update": the first message must be "register"',
  },
  {
    what: "registers without a capacity",
    frames: [control({ type: "register", worker_name: "w", models: [] })],
    message: 'Cannot read "register": "max_concurrent" must be a whole number',
  },
  {
    what: "acknowledges a frame",
    frames: [ackFrame(1)],
    message: "Cannot take an acknowledgement of 1 frames: 0 to 0 are possible",
  },
];

/** By a relay that has accepted a worker. */
const OF_RELAYS: Offence[] = [
  ...[0, 3, 4].map((number) => ({
    what: `sends request ${number} after request 4`,
    frames: [requestFrame(4, 0), requestFrame(number, 0)],
    message: `Cannot take request ${number} after 4`,
  })),
  {
    what: "sends more of a body than it announced",
    frames: [requestFrame(1, 10), bodyFrame(1, 11)],
    message: "Cannot take more of a body than was announced",
  },
  {
    what: "sends less of a body than it announced",
    frames: [requestFrame(1, 10), bodyFrame(1, 9), frameOf(FRAME.end, 1)],
    message: "Cannot take a body that is shorter than announced",
  },
  {
    what: "sends more of a body than the window",
    frames: [requestFrame(1, 2 * WINDOW), bodyFrame(1, WINDOW + 1)],
    code: CLOSE.flow,
    message: "Cannot take more of a body than there is room for",
  },
  ...[FRAME.body, FRAME.end, FRAME.cancel, FRAME.credit].flatMap((type) =>
    [0, 1].map((number) => ({
      what: `sends type ${type} for request ${number}, which never was`,
      frames: [
        type === FRAME.credit
          ? creditFrame(number, 1)
          : frameOf(type, number, Buffer.from(type === FRAME.cancel ? "{}" : "")),
      ],
      message: `Cannot take a frame for request ${number}: there was none`,
    })),
  ),
  {
    what: "grants more than a credit can hold",
    frames: [requestFrame(1, 0), creditFrame(1, V2_MAX_CREDIT)],
    code: CLOSE.flow,
    message: /^Cannot take a credit of 4294967295 bytes beside \d+: 4294967295 are allowed$/,
  },
  {
    what: "goes on with a session, which nobody asked for",
    frames: [jsonFrame(FRAME.resumed, 0, { received: 0 })],
    message: "Cannot go on: nobody has asked",
  },
  {
    what: "refuses a session, for which nobody asked",
    frames: [jsonFrame(FRAME.refused, 0, { reason: "r" })],
    message: "Cannot be refused: nobody has asked",
  },
  {
    what: "sends a request without a path",
    frames: [jsonFrame(FRAME.request, 1, { request_id: "a", model: "m", method: "GET", body_bytes: 0 })],
    message: 'Cannot read a message: "path" must be a string',
  },
  ...[-1, 1.5, "1", 2 ** 60].map((bytes) => ({
    what: `announces a body of ${JSON.stringify(bytes)} bytes`,
    frames: [jsonFrame(FRAME.request, 1, { request_id: "a", body_bytes: bytes })],
    message: 'Cannot read a message: "body_bytes" must be a whole number',
  })),
  ...badJson([
    [FRAME.control, "a control frame"],
    [FRAME.request, "a request"],
  ]),
  ...badJson([[FRAME.cancel, "a cancellation"]], [requestFrame(1, 0)]),
];

function tell(offences: Offence[], open: () => RelayEnd | WorkerEnd): void {
  for (const { what, frames, code = CLOSE.protocol, message } of offences) {
    test(`is told so when it ${what}`, () => {
      const { codec } = open();
      expect(errorOf(codec, ...frames.slice(0, -1))).toBeUndefined();
      const error = errorOf(codec, frames.at(-1)!);
      expect(error?.closeCode).toBe(code);
      if (message instanceof RegExp) expect(error?.message).toMatch(message);
      else expect(error?.message).toEndWith(message);
      // In the same words when it comes in pieces, or all at once.
      expect(errorOf(open().codec, joined(frames))).toEqual(error);
      expect(errorOf(open().codec, ...new Random(1).split(joined(frames)))).toEqual(error);
    });
  }
}

function relayWithRequest(): RelayEnd {
  const relay = new RelayEnd();
  relay.ask("r1");
  relay.frames();
  return relay;
}

describe("A v2 worker that breaks the rules", () => {
  tell(OF_WORKERS, relayWithRequest);

  test("is told so when it sends text", () => {
    const { codec } = relayWithRequest();
    expect(() => codec.receive("{}")).toThrow("Cannot read a text message: protocol v2 is binary");
  });
});

describe("A v2 worker that has not registered", () => {
  tell(UNREGISTERED, () => new RelayEnd(false));
});

describe("A v2 relay that breaks the rules", () => {
  tell(OF_RELAYS, () => new WorkerEnd());

  test("is told so when it sends text", () => {
    expect(() => new WorkerEnd().codec.receive("{}")).toThrow("protocol v2 is binary");
  });

  for (const [what, frame] of [
    ["a request", requestFrame(1, 0)],
    ["a ping", frameOf(FRAME.ping, 0, new Uint8Array(8))],
    ["a type that nobody knows", frameOf(0x42)],
  ] as const) {
    test(`is told so when it sends ${what} before it says whether the session goes on`, () => {
      const { codec } = new WorkerEnd();
      codec.continuation!.suspend();
      codec.continuation!.ask({ send() {} });
      const error = errorOf(codec, frame);
      expect(error).toMatchObject({
        closeCode: CLOSE.protocol,
        message: "Cannot take a frame before the session goes on",
      });
    });
  }

  test("is told so when it goes on twice", () => {
    const { codec } = new WorkerEnd();
    const resumed = jsonFrame(FRAME.resumed, 0, { received: 1 });
    codec.continuation!.suspend();
    codec.continuation!.ask({ send() {} });
    expect(errorOf(codec, resumed)).toBeUndefined();
    expect(errorOf(codec, resumed)?.message).toBe("Cannot go on: nobody has asked");
  });

  for (const received of [2, -1, "1", null]) {
    test(`is told so when it says that it has received ${JSON.stringify(received)} of one frame`, () => {
      const { codec } = new WorkerEnd();
      codec.continuation!.suspend();
      codec.continuation!.ask({ send() {} });
      expect(errorOf(codec, jsonFrame(FRAME.resumed, 0, { received }))?.closeCode).toBe(CLOSE.protocol);
    });
  }
});
