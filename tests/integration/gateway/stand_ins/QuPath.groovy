/*
 * Stands for the parts of QuPath that examples/qupath/segment.groovy calls, under QuPath's names. The image is a file, and the
 * selected annotation a rectangle: x, y, width and height. The objects that the script imports go to a file.
 *
 * The environment names the files (IMAGE, OBJECTS) and the rectangle (SELECTED).
 */

package qupath.lib.scripting

import groovy.json.JsonOutput
import java.awt.geom.AffineTransform
import java.awt.image.AffineTransformOp
import java.awt.image.BufferedImage
import javax.imageio.ImageIO

class Server {
    BufferedImage image = ImageIO.read(new File(System.getenv("IMAGE")))
    String path = "image"
}

class Roi {
    double x, y, width, height
    int z = 0, t = 0

    double getCentroidX() { x + width / 2 }

    double getCentroidY() { y + height / 2 }

    boolean contains(double atX, double atY) { atX >= x && atX < x + width && atY >= y && atY < y + height }
}

class PathObject {
    Roi ROI
    Map feature
    List children = []

    void addChildObjects(Collection objects) { children.addAll(objects) }
}

class QP {
    static Server server = new Server()
    static PathObject selected = selection()
    static List added = []

    static Server getCurrentServer() { server }

    static PathObject getSelectedObject() { selected }

    static void addObjects(Collection objects) { added.addAll(objects) }

    static void writeImageRegion(Server server, qupath.lib.regions.RegionRequest request, String path) {
        def region = server.image.getSubimage(request.x, request.y, request.width, request.height)
        def scale = AffineTransform.getScaleInstance(1 / request.downsample, 1 / request.downsample)
        def sent = new AffineTransformOp(scale, AffineTransformOp.TYPE_NEAREST_NEIGHBOR).filter(region, null)
        assert ImageIO.write(sent, "tif", new File(path))
    }

    static void fireHierarchyUpdate() {
        def found = [added: added*.feature, children: selected?.children*.feature]
        new File(System.getenv("OBJECTS")).text = JsonOutput.toJson(found)
    }

    private static PathObject selection() {
        def text = System.getenv("SELECTED")
        if (!text)
            return null
        def (x, y, width, height) = text.split(",")*.toDouble()
        return new PathObject(ROI: new Roi(x: x, y: y, width: width, height: height))
    }
}
