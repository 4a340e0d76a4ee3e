/*
 * Segments the open image with CellServe, in QuPath 0.5 or later, and imports the objects as detections. If an annotation is
 * selected, its bounding rectangle is sent, and the objects whose centre lies in the annotation become its children.
 *
 * Open an image and run this script (Automate > Script editor). Set the parameters below. A slide is too large for one request:
 * select an annotation, or raise `downsample`.
 *
 * The environment can name the service:
 *
 *     CELLSERVE_HTTP_URL   the service, "http://localhost:8080" unless set
 *     CELLSERVE_TOKEN      token, if the service wants one
 *     CELLSERVE_CA         file of certificates to trust (PEM), if those of this machine do not do
 */

import com.google.gson.Gson // QuPath has no JSON of Groovy
import groovy.transform.Field

import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.nio.file.Files
import java.nio.file.Path
import java.security.KeyStore
import java.security.cert.CertificateFactory
import java.time.Duration
import javax.net.ssl.SSLContext
import javax.net.ssl.TrustManagerFactory

import qupath.lib.io.PathIO
import qupath.lib.regions.RegionRequest
import qupath.lib.scripting.QP

@Field String service = System.getenv("CELLSERVE_HTTP_URL") ?: "http://localhost:8080"
@Field String token = System.getenv("CELLSERVE_TOKEN")
@Field String authority = System.getenv("CELLSERVE_CA")

/** Pixels of the image for one pixel that is sent. */
@Field double downsample = 1

/** As in docs/reference/parameters.md. Lengths are in pixels that are sent. Example: [diameter: 29, flow_threshold: 0.3] */
@Field Map parameters = [:]

/** Seconds for all attempts together. */
@Field long patience = 300

def server = QP.getCurrentServer()
if (server == null)
    throw new IllegalStateException("CellServe: open an image first")
def parent = QP.getSelectedObject()
def roi = parent?.getROI()
def request = RegionRequest.createInstance(server, downsample)
if (roi != null)
    request = RegionRequest.createInstance(server.getPath(), downsample, roi).intersect2D(request)

def image = Files.createTempFile("cellserve", ".tif")
Map answer
try {
    QP.writeImageRegion(server, request, image.toString())
    answer = segmented(image)
} finally {
    Files.delete(image)
}
def json = new Gson().toJson(placed(answer, request.getX(), request.getY(), downsample, request.getZ(), request.getT()))
def detections = PathIO.readObjectsFromGeoJSON(new ByteArrayInputStream(json.getBytes("UTF-8")))
if (roi != null) {
    detections = detections.findAll { roi.contains(it.getROI().getCentroidX(), it.getROI().getCentroidY()) }
    parent.addChildObjects(detections)
} else {
    QP.addObjects(detections)
}
QP.fireHierarchyUpdate()
println "CellServe: ${detections.size()} objects"

/** Returns the objects of an image file as a GeoJSON feature collection. */
Map segmented(Path image) {
    def query = parameters.collect { name, value -> "${name}=${URLEncoder.encode(value as String, 'UTF-8')}" }.join("&")
    def builder = HttpRequest.newBuilder(URI.create("${service}/v1/segment?${query}"))
        .header("Accept", "application/geo+json")
        .header("Content-Type", "image/tiff")
        .timeout(Duration.ofSeconds(patience))
        .POST(HttpRequest.BodyPublishers.ofFile(image))
    if (token)
        builder.header("Authorization", "Bearer ${token}")
    def client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
    if (authority)
        client.sslContext(trusting(new File(authority)))
    def sender = client.build()
    long end = System.currentTimeMillis() + 1000 * patience
    while (true) {
        def answer = sender.send(builder.build(), HttpResponse.BodyHandlers.ofString())
        def content = new Gson().fromJson(answer.body(), Map)
        if (answer.statusCode() == 200)
            return content
        // Retry-After: the service is full or restarts, and says when to come back. Any other refusal would only repeat itself.
        long pause = answer.headers().firstValueAsLong("Retry-After").orElse(Long.MAX_VALUE)
        if (pause >= (end - System.currentTimeMillis()).intdiv(1000))
            throw new IOException("CellServe: ${content.reason}: ${content.detail}")
        Thread.sleep(1000 * pause)
    }
}

/** Returns the trust in the certificates of a PEM file. */
SSLContext trusting(File file) {
    def store = KeyStore.getInstance(KeyStore.getDefaultType())
    store.load(null, null)
    file.withInputStream { stream ->
        CertificateFactory.getInstance("X.509").generateCertificates(stream).eachWithIndex { certificate, number ->
            store.setCertificateEntry("authority ${number}", certificate)
        }
    }
    def factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm())
    factory.init(store)
    def context = SSLContext.getInstance("TLS")
    context.init(null, factory.getTrustManagers(), null)
    return context
}

/**
 * Returns the features at their place in the whole image. Areas and lengths become those of the whole image. Measurements of
 * the place are left out: QuPath has its own.
 */
Map placed(Map collection, int left, int top, double scale, int z, int t) {
    Closure moved
    moved = { at -> at[0] instanceof Number ? [at[0] * scale + left, at[1] * scale + top] : at.collect(moved) }
    def features = collection.features.collect { feature ->
        def measurements = feature.properties.measurements.findAll { name, value -> !(name =~ /^(bbox|centroid)-/) }
        if (measurements) {
            measurements.area = measurements.area * scale * scale
            measurements.equivalent_diameter_area = measurements.equivalent_diameter_area * scale
        }
        [
            type: "Feature",
            geometry: [
                type: feature.geometry.type,
                coordinates: moved(feature.geometry.coordinates),
                plane: [c: -1, z: z, t: t],
            ],
            properties: feature.properties + [measurements: measurements],
        ]
    }
    return [type: "FeatureCollection", features: features]
}
