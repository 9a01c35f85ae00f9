import Glibc

/// A cell of the grid that positions on earth are sorted by: the bits of latitude and longitude in turn,
/// `step` of each.
///
/// Members of a geo set have the 52 bits of their cell as score, so that a cell of any size is a range of
/// scores. Every formula is computed in the order Redis computes it: the last bit of a distance counts.
/// Source: Redis 7.0 geohash.c, geohash_helper.c, after ardb (yinqiwen).
struct Geohash: Equatable {
    var bits: UInt64
    var step: Int

    static let finest = 26
    static let longitudes = -180.0...180.0
    /// The Mercator projection ends there.
    static let latitudes = -85.05112878...85.05112878

    init(bits: UInt64, step: Int) {
        self.bits = bits
        self.step = step
    }

    /// The cell of a position. The last line of a range belongs to a cell behind it, as in Redis.
    init(_ position: Position, step: Int = Geohash.finest,
        latitudes: ClosedRange<Double> = Geohash.latitudes
    ) {
        func offset(_ value: Double, _ range: ClosedRange<Double>) -> UInt64 {
            let part = (value - range.lowerBound) / (range.upperBound - range.lowerBound)
            return UInt64(max(0, part * Double(UInt64(1) << UInt64(step))))
        }
        bits = Geohash.spread(offset(position.latitude, latitudes))
            | Geohash.spread(offset(position.longitude, Geohash.longitudes)) << 1
        self.step = step
    }

    /// The cell a score stands for: whatever it is, as a C compiler for x86-64 converts it.
    init(score: Double) {
        func truncated(_ value: Double) -> UInt64 {
            UInt64(bitPattern: value >= -0x1p63 && value < 0x1p63 ? Int64(value) : Int64.min)
        }
        bits = score < 0x1p63 ? truncated(score) : truncated(score - 0x1p63) ^ 1 << 63
        step = Geohash.finest
    }

    private static let masks: [(shift: UInt64, mask: UInt64)] = [
        (16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555),
    ]

    /// The lower 32 bits, each with a gap behind it.
    private static func spread(_ value: UInt64) -> UInt64 {
        masks.reduce(value & 0xffff_ffff) { ($0 | $0 << $1.shift) & $1.mask }
    }

    private static func gathered(_ value: UInt64) -> UInt64 {
        var x = value & 0x5555_5555_5555_5555
        for i in masks.indices.reversed() {
            x = (x | x >> masks[i].shift) & (i > 0 ? masks[i - 1].mask : 0xffff_ffff)
        }
        return x
    }

    // MARK: Places

    struct Position: Equatable {
        var longitude = 0.0, latitude = 0.0
    }

    struct Area {
        var longitude: ClosedRange<Double>
        var latitude: ClosedRange<Double>
    }

    var area: Area {
        func side(_ index: UInt64, _ range: ClosedRange<Double>) -> ClosedRange<Double> {
            let scale = range.upperBound - range.lowerBound, cells = Double(UInt64(1) << UInt64(step))
            let index = UInt32(truncatingIfNeeded: index)
            let low = range.lowerBound + Double(index) / cells * scale
            let high = range.lowerBound + Double(index &+ 1) / cells * scale
            return min(low, high)...max(low, high)
        }
        return Area(
            longitude: side(Geohash.gathered(bits >> 1), Geohash.longitudes),
            latitude: side(Geohash.gathered(bits), Geohash.latitudes))
    }

    /// The middle of the cell; of one behind the last line, that line.
    var position: Position {
        let area = area
        func middle(_ side: ClosedRange<Double>, _ range: ClosedRange<Double>) -> Double {
            min(max((side.lowerBound + side.upperBound) / 2, range.lowerBound), range.upperBound)
        }
        return Position(
            longitude: middle(area.longitude, Geohash.longitudes),
            latitude: middle(area.latitude, Geohash.latitudes))
    }

    /// The first score of the cell and the first behind it.
    var scores: (first: UInt64, end: UInt64) {
        let shift = UInt64(52 - step * 2)
        return (bits << shift, (bits &+ 1) << shift)
    }

    /// The cell so many cells further east and north; the grid has no edges.
    func moved(east: Int, north: Int) -> Geohash {
        let mask = UInt64.max >> UInt64(64 - step * 2)
        func move(_ own: UInt64, by distance: Int) -> UInt64 {
            // The other coordinate's bits let the carry pass.
            let between = ~own & mask
            switch distance {
            case 0: return bits & own
            case 1: return (((bits & own) &+ (between &+ 1)) & own) & mask
            default: return (((bits & own | between) &- (between &+ 1)) & own) & mask
            }
        }
        return Geohash(
            bits: move(0xaaaa_aaaa_aaaa_aaaa, by: east) | move(0x5555_5555_5555_5555, by: north),
            step: step)
    }

    /// The usual text of eleven letters (geohash.org): in the full range of latitudes, the last letter
    /// always 0.
    var text: [UInt8] {
        let alphabet = Array("0123456789bcdefghjkmnpqrstuvwxyz".utf8)
        let hash = Geohash(position, latitudes: -90...90)
        return (0..<11).map { $0 == 10 ? alphabet[0] : alphabet[Int(hash.bits >> UInt64(47 - $0 * 5) & 31)] }
    }

    // MARK: Distances

    /// Units: metres.
    static let earthRadius = 6372797.560856
    static func radians(_ degrees: Double) -> Double { degrees * (Double.pi / 180) }
    static func degrees(_ radians: Double) -> Double { radians / (Double.pi / 180) }

    /// Metres along a great circle.
    static func distance(_ a: Position, _ b: Position) -> Double {
        let latitude1 = radians(a.latitude), latitude2 = radians(b.latitude)
        let u = sin((latitude2 - latitude1) / 2)
        let v = sin((radians(b.longitude) - radians(a.longitude)) / 2)
        return 2 * earthRadius * asin(sqrt(u * u + cos(latitude1) * cos(latitude2) * v * v))
    }
}

/// What GEOSEARCH looks for: everything within a circle or a box around a position.
struct GeoShape {
    enum Extent { case circle(radius: Double), box(width: Double, height: Double) }

    var center = Geohash.Position()
    var extent = Extent.circle(radius: 0)
    /// Metres in a unit.
    var unit = 1.0

    /// The distance to a position in metres; nil if it is outside.
    func distance(to position: Geohash.Position) -> Double? {
        switch extent {
        case .circle(let radius):
            let distance = Geohash.distance(center, position)
            return distance > radius * unit ? nil : distance
        case .box(let width, let height):
            var turned = position
            turned.latitude = center.latitude
            if Geohash.distance(position, turned) > height * unit / 2 { return nil }
            turned = position
            turned.longitude = center.longitude
            if Geohash.distance(position, turned) > width * unit / 2 { return nil }
            return Geohash.distance(center, position)
        }
    }

    /// Metres from the centre to the farthest point.
    private var reach: Double {
        switch extent {
        case .circle(let radius): radius * unit
        case .box(let width, let height):
            sqrt((width / 2) * (width / 2) + (height / 2) * (height / 2)) * unit
        }
    }

    /// How fine the nine cells may be that are to cover the shape.
    private var step: Int {
        var metres = reach
        if metres == 0 { return Geohash.finest }
        var step = 1
        while metres < 20037726.37 {
            metres *= 2
            step += 1
        }
        step -= 2
        // Cells are narrower near the poles.
        if abs(center.latitude) > 66 { step -= 1 }
        if abs(center.latitude) > 80 { step -= 1 }
        return min(max(step, 1), Geohash.finest)
    }

    private struct Bounds { var west, south, east, north: Double }

    private var bounds: Bounds {
        let height: Double, width: Double
        switch extent {
        case .circle(let radius): (width, height) = (radius * unit, radius * unit)
        case .box(let w, let h): (width, height) = (unit * (w / 2), unit * (h / 2))
        }
        let latitude = Geohash.degrees(height / Geohash.earthRadius)
        // The side nearer to the pole is the wider one in degrees.
        let widest = center.latitude < 0 ? center.latitude - latitude : center.latitude + latitude
        let longitude = Geohash.degrees(width / Geohash.earthRadius / cos(Geohash.radians(widest)))
        return Bounds(
            west: center.longitude - longitude, south: center.latitude - latitude,
            east: center.longitude + longitude, north: center.latitude + latitude)
    }

    /// The cells to look through, in Redis's order: that of the results when they are not sorted.
    var cells: [Geohash] {
        let bounds = bounds
        var hash = Geohash(center, step: step)
        if hash.step > 1, isTooFine(hash, bounds) { hash = Geohash(center, step: hash.step - 1) }
        let area = hash.area
        var skips = (north: false, south: false, east: false, west: false)
        if hash.step >= 2 {
            skips.south = area.latitude.lowerBound < bounds.south
            skips.north = area.latitude.upperBound > bounds.north
            skips.west = area.longitude.lowerBound < bounds.west
            skips.east = area.longitude.upperBound > bounds.east
        }
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
        var cells: [Geohash] = []
        for (east, north) in around {
            if north > 0 && skips.north || north < 0 && skips.south { continue }
            if east > 0 && skips.east || east < 0 && skips.west { continue }
            let cell = hash.moved(east: east, north: north)
            // In a coarse grid one neighbour may be the other. Redis compares with the last one only, and
            // not with the middle.
            if cells.count > 1, cells.last == cell { continue }
            cells.append(cell)
        }
        return cells
    }

    /// One of the cells around does not reach far enough.
    private func isTooFine(_ hash: Geohash, _ bounds: Bounds) -> Bool {
        hash.moved(east: 0, north: 1).area.latitude.upperBound < bounds.north
            || hash.moved(east: 0, north: -1).area.latitude.lowerBound > bounds.south
            || hash.moved(east: 1, north: 0).area.longitude.upperBound < bounds.east
            || hash.moved(east: -1, north: 0).area.longitude.lowerBound > bounds.west
    }
}
