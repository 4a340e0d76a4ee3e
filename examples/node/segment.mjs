// Segments an image file and writes the label image as a PNG file of 16 bits.
//
//   npm ci
//   node segment.mjs IMAGE LABELS.png [--diameter PX] [--compression none|zlib] [--deadline-s SECONDS]
//
// CELLSERVE_ADDRESS is the server, "localhost:50051" unless set. CELLSERVE_TOKEN is the token, if the server wants one.
// CELLSERVE_CA is a file of certificates to trust (PEM): the connection is then encrypted.

import { readFileSync, writeFileSync } from "node:fs";
import { extname } from "node:path";
import { parseArgs } from "node:util";
import { encode } from "fast-png";
import { Client, pixels } from "./cellserve.mjs";

const FORMATS = { ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG" };
const OPTIONS = {
  diameter: { type: "string", default: "0" }, // median diameter of the objects; 0: estimated from the image
  compression: { type: "string", default: "unspecified" }, // of the label image on its way; unspecified: the server decides
  "deadline-s": { type: "string", default: "300" },
};

const { values: options, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
const [image, out] = positionals;
const format = FORMATS[extname(image ?? "").toLowerCase()];
if (!format || !out) {
  console.error("usage: node segment.mjs IMAGE LABELS.png [OPTIONS]; IMAGE is a .png, .tif or .jpg file");
  process.exit(2);
}

const { CELLSERVE_ADDRESS: address = "localhost:50051", CELLSERVE_TOKEN: token, CELLSERVE_CA: ca } = process.env;
const client = new Client(address, { token, ca: ca && readFileSync(ca) });
try {
  const request = {
    params: { diameter: Number(options.diameter) },
    compression: `COMPRESSION_${options.compression.toUpperCase()}`,
  };
  const answer = await client.segment(readFileSync(image), `FORMAT_${format}`, request, Number(options["deadline-s"]));
  for (const { message, suggestion } of answer.warnings) console.error(`${image}: ${message} ${suggestion}`);
  const labels = pixels(answer.labels);
  if (labels.data instanceof Uint32Array) throw new Error("more than 65,535 objects do not fit into 16 bits");
  writeFileSync(out, encode({ ...labels, channels: 1, depth: 16 }));
  console.log(`${image}: ${answer.objects.length} objects, ${labels.width} x ${labels.height} px, labels in ${out}`);
} catch (error) {
  console.error(`${image}: ${error.reason ? `${error.reason}: ` : ""}${error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
