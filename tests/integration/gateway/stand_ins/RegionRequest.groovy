package qupath.lib.regions

import qupath.lib.scripting.Roi
import qupath.lib.scripting.Server

class RegionRequest {
    int x, y, width, height, z, t
    double downsample

    static RegionRequest createInstance(Server server, double downsample) {
        new RegionRequest(width: server.image.width, height: server.image.height, downsample: downsample)
    }

    static RegionRequest createInstance(String path, double downsample, Roi roi) {
        int x = Math.floor(roi.x), y = Math.floor(roi.y)
        int width = Math.ceil(roi.x + roi.width) - x, height = Math.ceil(roi.y + roi.height) - y
        new RegionRequest(x: x, y: y, width: width, height: height, z: roi.z, t: roi.t, downsample: downsample)
    }

    RegionRequest intersect2D(RegionRequest other) {
        int left = Math.max(x, other.x), top = Math.max(y, other.y)
        int right = Math.min(x + width, other.x + other.width), bottom = Math.min(y + height, other.y + other.height)
        new RegionRequest(
            x: left, y: top, width: right - left, height: bottom - top, z: z, t: t, downsample: downsample
        )
    }
}
