package qupath.lib.io

import groovy.json.JsonSlurper
import qupath.lib.scripting.PathObject
import qupath.lib.scripting.Roi

class PathIO {
    static List<PathObject> readObjectsFromGeoJSON(InputStream stream) {
        new JsonSlurper().parse(stream, "UTF-8").features.collect { feature ->
            def numbers = feature.geometry.coordinates.flatten()
            def xs = (0..<numbers.size()).step(2).collect { numbers[it] }
            def ys = (1..<numbers.size()).step(2).collect { numbers[it] }
            def roi = new Roi(x: xs.min(), y: ys.min(), width: xs.max() - xs.min(), height: ys.max() - ys.min())
            new PathObject(ROI: roi, feature: feature)
        }
    }
}
