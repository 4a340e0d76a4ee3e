// Segments an image file and writes the label image as a TIFF file. build.sh compiles and says how to run.
//
//   Segment IMAGE LABELS.tif [DIAMETER]
//
// DIAMETER is the median diameter of the objects in pixels; without it the server estimates one. Environment:
// CELLSERVE_ADDRESS is the server, "localhost:50051" unless set. CELLSERVE_TOKEN is the token, if the server wants one.
// CELLSERVE_CA is a file of certificates to trust (PEM): the connection is then encrypted.

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.zip.InflaterInputStream;
import javax.imageio.ImageIO;
import org.cellserve.v1.Array;
import org.cellserve.v1.Compression;
import org.cellserve.v1.DataType;
import org.cellserve.v1.EncodedImage;
import org.cellserve.v1.Image;
import org.cellserve.v1.SegmentParams;
import org.cellserve.v1.SegmentRequest;
import org.cellserve.v1.SegmentResponse;
import org.cellserve.v1.SegmentationServiceGrpc;
import org.cellserve.v1.SegmentationServiceGrpc.SegmentationServiceBlockingStub;
import org.cellserve.v1.Warning;

public final class Segment {
  private static final Duration DEADLINE = Duration.ofSeconds(300); // for all attempts together
  private static final int MESSAGE_BYTES = 9 << 20; // every server takes messages of this size

  public static void main(String[] args) throws InterruptedException {
    if (args.length < 2) {
      System.err.println("usage: Segment IMAGE LABELS.tif [DIAMETER]");
      System.exit(2);
    }
    ManagedChannel channel = null;
    try {
      SegmentParams.Builder params = SegmentParams.newBuilder();
      if (args.length > 2) {
        params.setDiameter(Double.parseDouble(args[2]));
      }
      Image image = Image.newBuilder().setEncoded(read(Path.of(args[0]))).build();
      SegmentRequest request = SegmentRequest.newBuilder().setImage(image).setParams(params).build();

      channel = connect();
      SegmentResponse answer = segment(stub(channel), request);
      for (Warning warning : answer.getWarningsList()) {
        System.err.println(args[0] + ": " + warning.getMessage() + " " + warning.getSuggestion());
      }
      BufferedImage labels = labelImage(answer.getLabels());
      ImageIO.write(labels, "tiff", new File(args[1]));
      System.out.printf(
          "%s: %d objects, %d x %d px, labels in %s%n",
          args[0], answer.getObjectsCount(), labels.getWidth(), labels.getHeight(), args[1]);
    } catch (StatusRuntimeException failure) {
      // The reason is a word of docs/reference/errors.md. Failures of the network have none.
      Status status = failure.getStatus();
      String reason = detail(failure, ErrorInfo.class).map(ErrorInfo::getReason).orElse(status.getCode().name());
      String cause = status.getCause() == null ? "" : ": " + status.getCause().getMessage();
      System.err.println(args[0] + ": " + reason + ": " + status.getDescription() + cause);
      System.exit(1);
    } catch (IOException | IllegalArgumentException failure) {
      System.err.println(args[0] + ": " + failure);
      System.exit(1);
    } finally {
      if (channel != null) {
        channel.shutdownNow();
      }
    }
  }

  private static EncodedImage read(Path path) throws IOException {
    ByteString data = ByteString.copyFrom(Files.readAllBytes(path));
    if (data.size() > MESSAGE_BYTES) {
      throw new IOException("too large for one message: send the file over HTTP, or call SegmentLarge");
    }
    return EncodedImage.newBuilder().setFormat(formatOf(path.toString())).setData(data).build();
  }

  private static ManagedChannel connect() throws IOException {
    String ca = System.getenv("CELLSERVE_CA");
    ChannelCredentials credentials =
        ca == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build();
    String address = System.getenv().getOrDefault("CELLSERVE_ADDRESS", "localhost:50051");
    // gRPC refuses answers above 4 MB unless told otherwise. The label image of 2048 x 2048 px has 8.4 MB.
    return Grpc.newChannelBuilder(address, credentials).maxInboundMessageSize(Integer.MAX_VALUE).build();
  }

  private static SegmentationServiceBlockingStub stub(ManagedChannel channel) {
    SegmentationServiceBlockingStub stub = SegmentationServiceGrpc.newBlockingStub(channel);
    String token = System.getenv("CELLSERVE_TOKEN");
    if (token == null) {
      return stub;
    }
    Metadata metadata = new Metadata();
    metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  /** Calls Segment, and repeats the call while the server invites to. */
  private static SegmentResponse segment(SegmentationServiceBlockingStub stub, SegmentRequest request)
      throws InterruptedException {
    Instant end = Instant.now().plus(DEADLINE);
    while (true) {
      Duration left = Duration.between(Instant.now(), end);
      try {
        return stub.withDeadlineAfter(left.toMillis(), TimeUnit.MILLISECONDS).segment(request);
      } catch (StatusRuntimeException failure) {
        RetryInfo retry = detail(failure, RetryInfo.class).orElseThrow(() -> failure);
        Duration pause = Duration.ofSeconds(retry.getRetryDelay().getSeconds() + 1);
        if (Instant.now().plus(pause).isAfter(end)) {
          throw failure;
        }
        Thread.sleep(pause.toMillis());
      }
    }
  }

  /** Returns a detail of a failed call, such as google.rpc.ErrorInfo. */
  private static <T extends Message> Optional<T> detail(StatusRuntimeException failure, Class<T> type) {
    com.google.rpc.Status status = StatusProto.fromThrowable(failure);
    try {
      for (Any any : status.getDetailsList()) {
        if (any.is(type)) {
          return Optional.of(any.unpack(type));
        }
      }
    } catch (InvalidProtocolBufferException damaged) {
      // As if the detail were not there.
    }
    return Optional.empty();
  }

  private static EncodedImage.Format formatOf(String path) {
    String ending = path.substring(path.lastIndexOf('.') + 1).toLowerCase();
    switch (ending) {
      case "png":
        return EncodedImage.Format.FORMAT_PNG;
      case "tif":
      case "tiff":
        return EncodedImage.Format.FORMAT_TIFF;
      case "jpg":
      case "jpeg":
        return EncodedImage.Format.FORMAT_JPEG;
      default:
        throw new IllegalArgumentException("the name of an image ends in .png, .tif or .jpg");
    }
  }

  /** Returns a label image: 0 for background, n for object n. */
  private static BufferedImage labelImage(Array labels) throws IOException {
    if (labels.getDataType() != DataType.DATA_TYPE_UINT16) {
      throw new IOException("more than 65,535 objects do not fit into a picture of 16 bits");
    }
    InputStream data = new ByteArrayInputStream(labels.getData().toByteArray());
    if (labels.getCompression() == Compression.COMPRESSION_ZLIB) {
      data = new InflaterInputStream(data);
    }
    int height = (int) labels.getShape(0);
    int width = (int) labels.getShape(1);
    short[] pixels = new short[height * width];
    ByteBuffer.wrap(data.readAllBytes()).order(ByteOrder.LITTLE_ENDIAN).asShortBuffer().get(pixels);
    BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_USHORT_GRAY);
    image.getRaster().setDataElements(0, 0, width, height, pixels);
    return image;
  }
}
