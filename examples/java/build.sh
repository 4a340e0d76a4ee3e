#!/bin/sh
# Compiles Segment.java into build/java of the checkout, with Debian's packages, and prints how to run it:
#
#   apt install default-jdk-headless protobuf-compiler protobuf-compiler-grpc-java-plugin \
#       libgrpc-java libprotobuf-java libnetty-java libgoogle-gson-java libperfmark-java
#
# docs/guides/other-languages.md names the same libraries for Maven and Gradle.
set -eu
cd "$(dirname "$0")/../.."
rm -rf build/java
mkdir -p build/java/stubs build/java/lib

# Names are relative to a folder of -I, as the files import each other.
(cd proto && echo cellserve/v1/*.proto) | xargs protoc -I proto -I proto/third_party \
    --java_out=build/java/stubs --grpc-java_out=build/java/stubs \
    --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" google/rpc/status.proto google/rpc/error_details.proto

for jar in grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub protobuf guava gson \
    perfmark-api 'netty-*' geronimo-annotation-1.3-spec; do
    ln -s /usr/share/java/$jar.jar build/java/lib # shellcheck disable=SC2086
done
find build/java/stubs -name '*.java' -exec javac -nowarn -d build/java -cp 'build/java/lib/*' examples/java/Segment.java {} +
echo 'java -cp "build/java:build/java/lib/*" Segment IMAGE LABELS.tif [DIAMETER]'
