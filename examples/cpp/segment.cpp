// Segments an image file and writes the label image as a TIFF file.
//
//   cmake -S . -B build && cmake --build build && build/segment IMAGE LABELS.tif [DIAMETER]
//
// DIAMETER is the median diameter of the objects in pixels; without it the server estimates one. Environment:
// CELLSERVE_ADDRESS is the server, "localhost:50051" unless set. CELLSERVE_TOKEN is the token, if the server wants one.
// CELLSERVE_CA is a file of certificates to trust (PEM): the connection is then encrypted.

#include <grpcpp/grpcpp.h>
#include <zlib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "cellserve/v1/segmentation.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
// After the messages: libtiff has macros of the same names as values of Compression.
#include <tiffio.h>

namespace pb = cellserve::v1;
using Clock = std::chrono::system_clock;

constexpr std::chrono::seconds kDeadline{300};  // for all attempts together
constexpr size_t kMessageBytes = 9 << 20;       // every server takes messages of this size

std::string environment(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("the file cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

pb::EncodedImage::Format format_of(const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending == ".png") return pb::EncodedImage::FORMAT_PNG;
  if (ending == ".tif" || ending == ".tiff") return pb::EncodedImage::FORMAT_TIFF;
  if (ending == ".jpg" || ending == ".jpeg") return pb::EncodedImage::FORMAT_JPEG;
  throw std::runtime_error("the name ends in .png, .tif or .jpg");
}

std::shared_ptr<grpc::Channel> connect() {
  grpc::ChannelArguments arguments;
  // gRPC refuses answers above 4 MB unless told otherwise. The label image of 2048 x 2048 px has 8.4 MB.
  arguments.SetMaxReceiveMessageSize(-1);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (const std::string ca = environment("CELLSERVE_CA"); !ca.empty()) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = read_file(ca);
    credentials = grpc::SslCredentials(options);
  }
  return grpc::CreateCustomChannel(environment("CELLSERVE_ADDRESS", "localhost:50051"), credentials, arguments);
}

// Returns a detail of a failed call, such as google.rpc.ErrorInfo.
template <typename Detail>
std::optional<Detail> detail_of(const grpc::Status& status) {
  google::rpc::Status packed;
  packed.ParseFromString(status.error_details());
  for (const auto& any : packed.details()) {
    if (Detail detail; any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

// Calls Segment, and repeats the call while the server invites to.
grpc::Status segment(pb::SegmentationService::Stub& stub, const pb::SegmentRequest& request,
                     pb::SegmentResponse& answer) {
  const auto deadline = Clock::now() + kDeadline;
  for (;;) {
    grpc::ClientContext context;  // of one call
    context.set_deadline(deadline);
    if (const std::string token = environment("CELLSERVE_TOKEN"); !token.empty()) {
      context.AddMetadata("authorization", "Bearer " + token);
    }
    const grpc::Status status = stub.Segment(&context, request, &answer);
    const auto retry = detail_of<google::rpc::RetryInfo>(status);
    if (!retry) return status;
    const auto pause = std::chrono::seconds(retry->retry_delay().seconds() + 1);
    if (Clock::now() + pause >= deadline) return status;
    std::this_thread::sleep_for(pause);
  }
}

// Returns the plain elements of an array: rows, top row first, little-endian.
std::string unpack(const pb::Array& array) {
  if (array.compression() != pb::COMPRESSION_ZLIB) return array.data();
  const size_t item = array.data_type() == pb::DATA_TYPE_UINT32 ? 4 : 2;
  std::string plain(array.shape(0) * array.shape(1) * item, '\0');
  uLongf size = plain.size();
  if (uncompress(reinterpret_cast<Bytef*>(plain.data()), &size, reinterpret_cast<const Bytef*>(array.data().data()),
                 array.data().size()) != Z_OK ||
      size != plain.size()) {
    throw std::runtime_error("the label image of the answer is damaged");
  }
  return plain;
}

void write_tiff(const std::string& path, const pb::Array& labels) {
  std::string data = unpack(labels);
  TIFF* file = TIFFOpen(path.c_str(), "wl");  // little-endian, as the labels are
  if (!file) throw std::runtime_error(path + " cannot be written");
  TIFFSetField(file, TIFFTAG_IMAGELENGTH, static_cast<uint32_t>(labels.shape(0)));
  TIFFSetField(file, TIFFTAG_IMAGEWIDTH, static_cast<uint32_t>(labels.shape(1)));
  TIFFSetField(file, TIFFTAG_BITSPERSAMPLE, labels.data_type() == pb::DATA_TYPE_UINT32 ? 32 : 16);
  TIFFSetField(file, TIFFTAG_SAMPLESPERPIXEL, 1);
  TIFFSetField(file, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
  const bool written = TIFFWriteEncodedStrip(file, 0, data.data(), data.size()) >= 0;
  TIFFClose(file);
  if (!written) throw std::runtime_error(path + " cannot be written");
}

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: segment IMAGE LABELS.tif [DIAMETER]\n";
    return 2;
  }
  pb::SegmentRequest request;
  auto& image = *request.mutable_image()->mutable_encoded();
  image.set_format(format_of(argv[1]));
  image.set_data(read_file(argv[1]));
  if (image.data().size() > kMessageBytes) {
    throw std::runtime_error("too large for one message: send the file over HTTP, or call SegmentLarge");
  }
  if (argc > 3) request.mutable_params()->set_diameter(std::stod(argv[3]));

  pb::SegmentResponse answer;
  const grpc::Status status = segment(*pb::SegmentationService::NewStub(connect()), request, answer);
  if (!status.ok()) {
    // The reason is a word of docs/reference/errors.md; failures of the network have none.
    const auto info = detail_of<google::rpc::ErrorInfo>(status);
    std::cerr << argv[1] << ": " << (info ? info->reason() : "gRPC status " + std::to_string(status.error_code()))
              << ": " << status.error_message() << "\n";
    return 1;
  }
  for (const auto& warning : answer.warnings()) {
    std::cerr << argv[1] << ": " << warning.message() << " " << warning.suggestion() << "\n";
  }
  write_tiff(argv[2], answer.labels());
  std::cout << argv[1] << ": " << answer.objects_size() << " objects, " << answer.labels().shape(1) << " x "
            << answer.labels().shape(0) << " px, labels in " << argv[2] << "\n";
} catch (const std::exception& error) {
  std::cerr << (argc > 1 ? argv[1] : "segment") << ": " << error.what() << "\n";
  return 1;
}
