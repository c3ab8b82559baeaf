import { CLOSE, V2_ACK_BYTES, V2_ACK_FRAMES, V2_BATCH, V2_UNACKED_LIMIT } from "./limits.ts";
import {
  FRAME,
  FrameDecoder,
  HEADER_BYTES,
  isCounted,
  payloadLength,
  writeHeader,
  type FrameHandler,
} from "./frames.ts";
import { ProtocolError } from "./messages.ts";
import { Packer, Unpacker } from "./packing.ts";
import { Slabs, type Slab } from "./slabs.ts";

/** Takes messages away; see `Carrier` in link.ts. */
export interface ByteCarrier {
  send(message: Uint8Array<ArrayBuffer>): void;
}

export interface ChannelOptions {
  /** Calls back once what is being done now is done, so that what is ready together leaves together. */
  schedule(flush: () => void): void;
  /** A frame has come: every one but acknowledgements. */
  frame: FrameHandler;
  /** More was sent than may wait for the other end's acknowledgement: the link is of no use any more. */
  overflowed(error: ProtocolError): void;
}

/** What was handed to the carrier and may have to be sent again. */
interface Sent {
  /** Number of the last counted frame in it. */
  last: number;
  bytes: Uint8Array<ArrayBuffer>;
  /** Where its bytes lie. */
  slab: Slab;
}

/** What keeping a message takes beside its bytes (183 measured), so that many small ones are not free. */
const KEPT_COST = 192;

/**
 * One end of a link that can lose its carrier and go on over another one. Counted frames arrive once and
 * in order: both ends number them from 1 in each direction without saying so, keep what they sent until
 * the other has acknowledged it, and send it again over the next carrier.
 *
 * ```
 * send() ─► buffer ─► flush() ─► carrier          (kept until acknowledged)
 * receive() ─► decoder ─► frame()
 * ```
 */
export class Channel {
  readonly #options: ChannelOptions;
  #carrier: ByteCarrier | undefined;
  #decoder: FrameDecoder;
  readonly #slabs = new Slabs();
  /** Where frames are written; `#from` to `#to` has not been flushed. */
  #slab: Slab = this.#slabs.first();
  #from = 0;
  #to = 0;
  #scheduled = false;
  /** Numbers of the last counted frame that was written, and that the other end has. */
  #written = 0;
  #acknowledged = 0;
  readonly #kept: Sent[] = [];
  #unacked = 0;
  /** Counted frames that have come, and how many of them the other end knows of. */
  #received = 0;
  #told = 0;
  #receivedBytes = 0;
  /** Both are there once the two ends have agreed to pack, and anew with each carrier. */
  #packer: Packer | undefined;
  #unpacker: Unpacker | undefined;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#decoder = this.#newDecoder();
  }

  /** Counted frames that have come. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that are held for what was sent, or is about to be, and that the other end may not have. */
  get unacked(): number {
    return this.#unacked + this.#to - this.#from;
  }

  get attached(): boolean {
    return this.#carrier !== undefined;
  }

  /** From here on frames may come packed, and those that leave do. What was written before leaves as it is. */
  startPacking(): void {
    if (this.#carrier !== undefined) this.flush();
    this.#packer = new Packer();
    this.#unpacker = new Unpacker();
  }

  /** Sends from now on over this carrier. What waited goes out at the next flush. */
  attach(carrier: ByteCarrier): void {
    this.#carrier = carrier;
  }

  /**
   * The carrier is gone. What is sent from now on waits for the next one; what is received is taken to
   * come from the next one, which is not sent on before `resume`.
   */
  detach(): void {
    this.#carrier = undefined;
    this.#decoder = this.#newDecoder();
    if (this.#packer !== undefined) this.startPacking();
  }

  /**
   * Goes on over another carrier, whether or not the present one is lost: sends again what the other end
   * has not received. Nothing has changed if it throws.
   *
   * @param greet sends what has to come before anything else
   * @param theirCount counted frames that the other end says it has received
   * @throws {ProtocolError} if that cannot be
   */
  resume(carrier: ByteCarrier, theirCount: number, greet?: () => void): void {
    if (!Number.isSafeInteger(theirCount) || theirCount < this.#acknowledged || theirCount > this.#written) {
      throw new ProtocolError(
        `Cannot go on after ${theirCount} frames: ${this.#acknowledged} to ${this.#written} are possible`,
        CLOSE.protocol,
      );
    }
    if (this.attached) this.detach();
    this.flush();
    this.attach(carrier);
    this.#acknowledge(theirCount);
    greet?.();
    for (const message of this.#unreceived(theirCount)) this.#handOver(message);
    this.#told = this.#received;
    this.#receivedBytes = 0;
  }

  send(type: number, request: number, payload?: Uint8Array): void {
    const length = payload?.length ?? 0;
    // What is not counted is about a carrier; without one it is about nothing.
    if (!isCounted(type) && this.#carrier === undefined) return;
    const at = this.#begin(type, request, length);
    if (payload !== undefined) this.#slab.bytes.set(payload, at);
    this.#count(type, HEADER_BYTES + length);
  }

  sendJson(type: number, request: number, value: object): void {
    const text = JSON.stringify(value);
    this.sendText(type, request, text, Buffer.byteLength(text));
  }

  /**
   * Writes a text where it is to leave from: copied there from bytes of its own it takes five times as long.
   *
   * @param length of the text as UTF-8
   */
  sendText(type: number, request: number, text: string, length: number): void {
    if (!isCounted(type) && this.#carrier === undefined) return;
    const at = this.#begin(type, request, length);
    this.#slab.bytes.write(text, at);
    this.#count(type, HEADER_BYTES + length);
  }

  sendCredit(request: number, bytes: number): void {
    const at = this.#begin(FRAME.credit, request, 4);
    this.#slab.bytes.writeUInt32BE(bytes, at);
    this.#count(FRAME.credit, HEADER_BYTES + 4);
  }

  /**
   * Takes bytes that came over the carrier.
   *
   * @throws {ProtocolError} if they break the rules
   */
  receive(bytes: Uint8Array<ArrayBuffer>): void {
    this.#receivedBytes += bytes.length;
    this.#decoder.push(bytes);
    const behind = this.#received - this.#told;
    if (behind >= V2_ACK_FRAMES || (behind > 0 && this.#receivedBytes >= V2_ACK_BYTES)) this.acknowledge();
  }

  /** Tells the other end what has come, with whatever else goes out next. */
  acknowledge(): void {
    if (this.#carrier === undefined || this.#told === this.#received) return;
    this.#told = this.#received;
    this.#receivedBytes = 0;
    const count = Buffer.allocUnsafe(8);
    count.writeBigUInt64BE(BigInt(this.#received));
    this.send(FRAME.ack, 0, count);
  }

  /** Lets go of memory that a burst needed, if nothing is on its way; to be called now and then. */
  trim(): void {
    if (this.#kept.length > 0 || this.#from !== this.#to) return;
    this.#slab = this.#slabs.trim(this.#slab);
    this.#from = this.#to = 0;
  }

  /** Hands over what was written since the last time. */
  flush(): void {
    this.#scheduled = false;
    if (this.#from === this.#to) return;
    const slab = this.#slab;
    const bytes = slab.bytes.subarray(this.#from, this.#to);
    this.#from = this.#to;
    if (this.#written > (this.#kept.at(-1)?.last ?? this.#acknowledged)) {
      this.#kept.push({ last: this.#written, bytes, slab });
      slab.users++;
      this.#unacked += bytes.length + KEPT_COST;
    }
    this.#handOver(bytes);
    if (this.#unacked <= V2_UNACKED_LIMIT) return;
    const message = `Cannot send more: ${this.#unacked} bytes wait for acknowledgement`;
    this.#options.overflowed(new ProtocolError(message, CLOSE.flow));
  }

  #handOver(bytes: Uint8Array<ArrayBuffer>): void {
    this.#carrier?.send(this.#packer === undefined ? bytes : this.#packer.pack(bytes));
  }

  #newDecoder(): FrameDecoder {
    return new FrameDecoder((type, request, payload) => {
      if (type === FRAME.packed && this.#unpacker !== undefined) this.#unpack(this.#unpacker, payload);
      else this.#take(type, request, payload);
    });
  }

  #take(type: number, request: number, payload: Uint8Array<ArrayBuffer>): void {
    if (isCounted(type)) this.#received++;
    if (type === FRAME.ack) this.#acknowledgedBy(payload);
    else this.#options.frame(type, request, payload);
  }

  /** Takes the frames in a packed one as if they had come as they are. */
  #unpack(unpacker: Unpacker, payload: Uint8Array): void {
    const frames = unpacker.unpack(payload);
    // The other end keeps what it packed as it was before.
    this.#receivedBytes += frames.length - payload.length;
    const inner = new FrameDecoder((type, request, inside) => {
      if (type === FRAME.packed)
        throw new ProtocolError("Cannot unpack a packed frame within another", CLOSE.protocol);
      this.#take(type, request, inside);
    });
    inner.push(frames);
    if (inner.held > 0)
      throw new ProtocolError("Cannot unpack a frame: what is in it is not whole", CLOSE.protocol);
  }

  /** @returns where the frame begins in the slab */
  #reserve(bytes: number): number {
    if (this.#to + bytes > this.#slab.bytes.length) {
      this.flush();
      // The rest of this one belongs to messages that may have to be sent again.
      this.#slab = this.#slabs.after(this.#slab, bytes);
      this.#from = this.#to = 0;
    }
    return this.#to;
  }

  /** Writes a frame's header; its payload and `#count` follow. @returns where the payload begins in the slab */
  #begin(type: number, request: number, length: number): number {
    const at = this.#reserve(HEADER_BYTES + length);
    writeHeader(this.#slab.bytes, at, type, request, length);
    return at + HEADER_BYTES;
  }

  #count(type: number, bytes: number): void {
    this.#to += bytes;
    if (isCounted(type)) this.#written++;
    if (this.#to - this.#from >= V2_BATCH) return this.flush();
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.schedule(this.#flushLater);
  }

  readonly #flushLater = (): void => {
    if (this.#scheduled) this.flush();
  };

  #acknowledgedBy(payload: Uint8Array): void {
    if (payload.length !== 8)
      throw new ProtocolError("Cannot read an acknowledgement: it has eight bytes", CLOSE.protocol);
    const count = Number(Buffer.from(payload.buffer, payload.byteOffset, 8).readBigUInt64BE());
    const sent = this.#kept.at(-1)?.last ?? this.#acknowledged;
    if (count < this.#acknowledged || count > sent) {
      throw new ProtocolError(
        `Cannot take an acknowledgement of ${count} frames: ${this.#acknowledged} to ${sent} are possible`,
        CLOSE.protocol,
      );
    }
    this.#acknowledge(count);
  }

  #acknowledge(count: number): void {
    this.#acknowledged = count;
    let done = 0;
    for (const { last, bytes, slab } of this.#kept) {
      if (last > count) break;
      this.#unacked -= bytes.length + KEPT_COST;
      slab.users--;
      if (slab !== this.#slab) this.#slabs.retire(slab);
      done++;
    }
    if (done > 0) this.#kept.splice(0, done);
    // A link that says little stays within its first page.
    if (this.#slab.users === 0 && this.#from === this.#to) this.#from = this.#to = 0;
  }

  /** Counted frames after `count`, in the pieces in which they were sent. */
  *#unreceived(count: number): Iterable<Uint8Array<ArrayBuffer>> {
    let number = this.#kept.length === 0 ? this.#written : this.#firstKept() - 1;
    for (const { bytes } of this.#kept) {
      const frames: Uint8Array[] = [];
      for (let at = 0; at < bytes.length;) {
        const end = at + HEADER_BYTES + payloadLength(bytes, at);
        if (isCounted(bytes[at + 3]!) && ++number > count) frames.push(bytes.subarray(at, end));
        at = end;
      }
      if (frames.length > 0) yield Buffer.concat(frames);
    }
  }

  /** Number of the first counted frame that is kept. */
  #firstKept(): number {
    const [first] = this.#kept;
    if (first === undefined) return this.#written + 1;
    let frames = 0;
    for (let at = 0; at < first.bytes.length; at += HEADER_BYTES + payloadLength(first.bytes, at)) {
      if (isCounted(first.bytes[at + 3]!)) frames++;
    }
    return first.last - frames + 1;
  }
}
