// A client of CellServe. The messages come from the .proto files as they stand; nothing is generated.

import { fileURLToPath } from "node:url";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32, inflateSync } from "node:zlib";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../proto", import.meta.url));
const MESSAGE_BYTES = 9 * 2 ** 20; // every server takes messages of this size
const CHUNK_BYTES = 2 ** 20; // the largest chunk of SegmentLarge

const messages = protoLoader.loadSync(
  ["cellserve/v1/segmentation.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  {
    includeDirs: [PROTO, `${PROTO}/third_party`],
    keepCase: true,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  },
);
const { SegmentationService } = grpc.loadPackageDefinition(messages).cellserve.v1;

/** A failed call. `reason` is a word of docs/reference/errors.md, or the gRPC status if the failure did not come from CellServe. */
export class CellServeError extends Error {
  constructor(failure) {
    super(failure.details || failure.message);
    const [packed] = failure.metadata?.get("grpc-status-details-bin") ?? [];
    const details = packed ? messages["google.rpc.Status"].deserialize(packed).details : [];
    const detail = (name) => {
      const found = details.find(({ type_url }) => type_url.endsWith(`/${name}`));
      return found && messages[name].deserialize(found.value);
    };
    const info = detail("google.rpc.ErrorInfo");
    const delay = detail("google.rpc.RetryInfo")?.retry_delay;
    this.reason = info?.reason ?? grpc.status[failure.code] ?? "";
    this.metadata = info?.metadata ?? {};
    this.retryAfterS = delay && delay.seconds + delay.nanos / 1e9; // undefined: repeating the call does not help
  }
}

export class Client {
  /**
   * @param {string} address "host:port"
   * @param {object} options
   * @param {string} [options.token] sent as `authorization: Bearer TOKEN`
   * @param {Buffer} [options.ca] certificates to trust, PEM; without them the connection is not encrypted
   */
  constructor(address, { token, ca } = {}) {
    const credentials = ca ? grpc.credentials.createSsl(ca) : grpc.credentials.createInsecure();
    this.metadata = new grpc.Metadata();
    if (token) this.metadata.set("authorization", `Bearer ${token}`);
    // gRPC refuses answers above 4 MB unless told otherwise. The label image of 2048 x 2048 px has 8.4 MB.
    this.service = new SegmentationService(address, credentials, { "grpc.max_receive_message_length": -1 });
  }

  /**
   * Segments an image file, and repeats the call while the server invites to.
   *
   * @param {Buffer} file the bytes of a PNG, TIFF or JPEG file
   * @param {string} format "FORMAT_PNG", "FORMAT_TIFF" or "FORMAT_JPEG"
   * @param {object} [request] further fields of SegmentRequest: { params: { diameter: 30 } }
   * @param {number} [deadlineS] seconds for all attempts together
   * @returns {Promise<object>} SegmentResponse
   * @throws {CellServeError}
   */
  async segment(file, format, request = {}, deadlineS = 300) {
    const deadline = Date.now() + 1000 * deadlineS;
    let large = file.length > MESSAGE_BYTES;
    for (;;) {
      try {
        return await (large ? this.#segmentLarge : this.#segment).call(this, file, format, request, deadline);
      } catch (error) {
        const pause = 1000 * error.retryAfterS * (1 + Math.random()); // callers refused together come back apart
        if (error.reason === "ANSWER_TOO_LARGE" && !large) large = true;
        else if (Date.now() + pause < deadline) await sleep(pause);
        else throw error;
      }
    }
  }

  close() {
    this.service.close();
  }

  /** One request, one answer. */
  #segment(file, format, request, deadline) {
    const whole = { ...request, image: { encoded: { format, data: file } } };
    return new Promise((resolve, reject) => {
      this.service.Segment(whole, this.metadata, { deadline }, (failure, answer) => {
        if (failure) reject(new CellServeError(failure));
        else resolve(answer);
      });
    });
  }

  /** The same for files and answers of any size: a header, then chunks; the answer comes in chunks, too. */
  async #segmentLarge(file, format, request, deadline) {
    const call = this.service.SegmentLarge(this.metadata, { deadline });
    call.write({ header: { segment: { ...request, image: { encoded: { format } } }, image_bytes: file.length } });
    const arrays = {};
    let answer;
    try {
      for await (const response of call) {
        if (response.part === "upload") Readable.from(chunks(file, response.upload.received_bytes)).pipe(call);
        else if (response.part === "result") answer = response.result;
        else if (response.part === "objects") answer.objects.push(...response.objects.objects);
        else if (response.part === "chunk") (arrays[response.chunk.array] ??= []).push(response.chunk.chunk.data);
      }
    } catch (failure) {
      throw new CellServeError(failure);
    }
    for (const [array, pieces] of Object.entries(arrays)) {
      answer[array.replace("RESULT_ARRAY_", "").toLowerCase()].data = Buffer.concat(pieces);
    }
    return answer;
  }
}

/** Returns the pixels of a label image: { height, width, data }, 0 for background and n for object n. */
export function pixels({ data_type, shape: [height, width], compression, data }) {
  const plain = compression === "COMPRESSION_ZLIB" ? inflateSync(data) : data;
  const Elements = data_type === "DATA_TYPE_UINT32" ? Uint32Array : Uint16Array; // more than 65,535 objects, or fewer
  return { height, width, data: new Elements(Uint8Array.from(plain).buffer) }; // a copy, because elements must be aligned
}

function* chunks(file, start) {
  for (let offset = start; offset < file.length; offset += CHUNK_BYTES) {
    const data = file.subarray(offset, offset + CHUNK_BYTES);
    yield { chunk: { offset, data, crc32: crc32(data) } };
  }
}
