import Primitives
import RESPWire
import TieredStore

/// Searching for members in a circle or a box: GEOSEARCH, and GEORADIUS before it.
enum GeoSearch {
    private static let units = "<M | KM | FT | MI>"

    static func rows() -> [Command] {
        let cost = "O(N+log(M)): members in the cells around the shape, members within it"
        let what = " <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius \(units) |"
            + " BYBOX width height \(units)> [ASC | DESC] [COUNT count [ANY]]"
        return [
            GeoCommands.row("geosearch", -7, [.readonly], "6.2.0",
                "Returns the members within a circle or a box.",
                "key" + what + " [WITHCOORD] [WITHDIST] [WITHHASH]", complexity: cost, search),
            GeoCommands.row("geosearchstore", -8, keys: .range(first: 1, last: 2, step: 1),
                [.write, .growsMemory], "6.2.0", "Stores the members within a circle or a box.",
                "destination source" + what + " [STOREDIST]", complexity: cost, search)
                .specs(.at(1, "OW update"), .at(2, "RO access")),
        ] + radius("georadius", 6, "key longitude latitude radius ", cost, "`GEOSEARCH` and `GEOSEARCHSTORE`"
            + " with the `BYRADIUS` argument", "`GEOSEARCH` with the `BYRADIUS` argument")
            + radius("georadiusbymember", 5, "key member radius ", cost, "`GEOSEARCH` and `GEOSEARCHSTORE`"
                + " with the `BYRADIUS` and `FROMMEMBER` arguments",
                "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
    }

    /// A command and its variant that stores nothing; options begin at word `options`.
    private static func radius(
        _ name: String, _ options: Int, _ words: String, _ cost: String, _ replacement: String,
        _ readOnlyReplacement: String
    ) -> [Command] {
        let syntax = words + units + " [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]"
        let around = name.hasSuffix("member") ? "a member" : "a position"
        return [
            GeoCommands.row(name, -options, keys: .custom { storeKeys($0, from: options, &$1) },
                [.write, .growsMemory, .movableKeys], "3.2.0",
                "Returns the members around \(around), or stores them.",
                syntax + " [STORE key] [STOREDIST key]", complexity: cost, search)
                .specs(.at(1, "RO access"), .after("STORE", from: options, "OW update"),
                    .after("STOREDIST", from: options, "OW update"))
                .deprecated("6.2.0", by: replacement),
            GeoCommands.row(name + "_ro", -options, [.readonly], "3.2.10",
                "Returns the members around \(around).", syntax, complexity: cost, search)
                .deprecated("6.2.0", by: readOnlyReplacement),
        ]
    }

    /// The source, and where the last STORE or STOREDIST says.
    private static func storeKeys(
        _ words: Arguments, from first: Int, _ positions: inout [Command.KeyPosition]
    ) {
        guard words.count >= first else { return }
        positions.append(Command.KeyPosition(1))
        var i = first, target: Int?
        while i < words.count {
            if words[i].matches("store") || words[i].matches("storedist"), i + 1 < words.count {
                target = i + 1
                i += 1
            }
            i += 1
        }
        if let target { positions.append(Command.KeyPosition(target)) }
    }

    // MARK: Words

    private enum Order { case none, ascending, descending }

    private struct Request {
        var shape = GeoShape()
        var withDistance = false, withHash = false, withPosition = false
        var hasCenter = false, hasExtent = false
        var order = Order.none
        var isAny = false
        var limit = Int64(0)
        /// Which key is the set to search, and which the target.
        var source = 0
        var target: Int?
        var storesDistance = false
        let isSearch: Bool

        init(_ call: Call) throws(CommandError) {
            let name = call.command.name
            isSearch = name.hasPrefix("geosearch")
            let isStoring = name == "geosearchstore"
            if isStoring { (source, target) = (1, 0) }
            let set = try call.keys.sortedSet(source)
            var first = isStoring ? 3 : 2
            if !isSearch {
                first = name.hasPrefix("georadiusbymember") ? 5 : 6
                if first == 6 {
                    shape.center = try GeoCommands.position(call, 2)
                } else if set.exists {
                    shape.center = try member(call, set, 2)
                }
                if first == 6 || set.exists { try circle(call, first - 2) }
            }
            try readOptions(call, set, from: first, isStoring)
            try check(call, isStoring)
        }

        private func member(
            _ call: Call, _ set: SortedSetValue, _ i: Int
        ) throws(CommandError) -> Geohash.Position {
            guard let score = try set.score(call.arguments[i]) else {
                throw .message("ERR could not decode requested zset member")
            }
            return Geohash(score: score).position
        }

        private func size(_ call: Call, _ i: Int, _ what: String) throws(CommandError) -> Double {
            guard let value = Decimal.double(call.arguments[i]), !value.isNaN else {
                throw .message("ERR need numeric \(what)")
            }
            return value
        }

        private mutating func circle(_ call: Call, _ i: Int) throws(CommandError) {
            let radius = try size(call, i, "radius")
            if radius < 0 { throw .message("ERR radius cannot be negative") }
            shape.unit = try GeoCommands.unit(call, i + 1)
            shape.extent = .circle(radius: radius)
        }

        private mutating func box(_ call: Call, _ i: Int) throws(CommandError) {
            let width = try size(call, i, "width"), height = try size(call, i + 1, "height")
            if width < 0 || height < 0 { throw .message("ERR height or width cannot be negative") }
            shape.unit = try GeoCommands.unit(call, i + 2)
            shape.extent = .box(width: width, height: height)
        }

        private mutating func readOptions(
            _ call: Call, _ set: SortedSetValue, from first: Int, _ isStoring: Bool
        ) throws(CommandError) {
            let mayStore = !isSearch && !call.command.name.hasSuffix("_ro")
            var i = first, isMember = false, isPosition = false, isCircle = false, isBox = false
            while i < call.wordCount {
                let word = call.arguments[i], left = call.wordCount - i - 1
                if word.matches("withdist") { withDistance = true }
                else if word.matches("withhash") { withHash = true }
                else if word.matches("withcoord") { withPosition = true }
                else if word.matches("any") { isAny = true }
                else if word.matches("asc") { order = .ascending }
                else if word.matches("desc") { order = .descending }
                else if word.matches("count"), left >= 1 {
                    limit = try Options.integer(call.arguments[i + 1])
                    if limit <= 0 { throw .message("ERR COUNT must be > 0") }
                    i += 1
                } else if mayStore, word.matches("store") || word.matches("storedist"), left >= 1 {
                    target = 1
                    storesDistance = word.matches("storedist")
                    i += 1
                } else if isStoring, word.matches("storedist") {
                    storesDistance = true
                } else if isSearch, word.matches("frommember"), left >= 1, !isPosition {
                    if set.exists { shape.center = try member(call, set, i + 1) }
                    isMember = true
                    i += 1
                } else if isSearch, word.matches("fromlonlat"), left >= 2, !isMember {
                    shape.center = try GeoCommands.position(call, i + 1)
                    isPosition = true
                    i += 2
                } else if isSearch, word.matches("byradius"), left >= 2, !isBox {
                    try circle(call, i + 1)
                    isCircle = true
                    i += 2
                } else if isSearch, word.matches("bybox"), left >= 3, !isCircle {
                    try box(call, i + 1)
                    isBox = true
                    i += 3
                } else {
                    throw .syntax
                }
                i += 1
            }
            hasCenter = isMember || isPosition
            hasExtent = isCircle || isBox
        }

        private mutating func check(_ call: Call, _ isStoring: Bool) throws(CommandError) {
            if target != nil, withDistance || withHash || withPosition {
                let what = isStoring ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS"
                throw .message(
                    "ERR \(what) is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
            }
            if isSearch, !hasCenter {
                throw .message(
                    "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for \(call.word(0))")
            }
            if isSearch, !hasExtent {
                throw .message("ERR exactly one of BYRADIUS and BYBOX can be specified for \(call.word(0))")
            }
            if isAny, limit == 0 { throw .message("ERR the ANY argument requires COUNT argument") }
            if limit != 0, order == .none, !isAny { order = .ascending }
        }
    }

    // MARK: Searching

    private struct Point {
        var member: Element
        var score: Double
        var position: Geohash.Position
        /// Units: metres.
        var distance: Double
    }

    private static func points(_ set: SortedSetValue, _ request: Request) throws(CommandError) -> [Point] {
        var points: [Point] = []
        let most = request.isAny ? Int(clamping: request.limit) : Int.max
        for cell in request.shape.cells where points.count < most {
            let scores = cell.scores
            let first = try set.rank { score, _ in score < Double(scores.first) }
            try set.forEach(from: first, count: try set.count() - first) { member, score in
                if score >= Double(scores.end) { return false }
                let position = Geohash(score: score).position
                if let distance = request.shape.distance(to: position) {
                    points.append(Point(
                        member: member, score: score, position: position, distance: distance))
                }
                return points.count < most
            }
        }
        if request.order == .none { return points }
        let sign = request.order == .ascending ? 1 : -1
        func compare(_ a: Point, _ b: Point) -> Int {
            a.distance > b.distance ? sign : a.distance == b.distance ? 0 : -sign
        }
        let count = request.limit == 0 ? points.count : min(points.count, Int(clamping: request.limit))
        if count == points.count { return points.sorted { compare($0, $1) < 0 } }
        return PartialSort.sort(points, wanted: 0...count - 1, by: compare)
    }

    static func search(_ call: Call) throws(CommandError) {
        let request = try Request(call)
        let set = try call.keys.sortedSet(request.source)
        var found = set.exists ? try points(set, request) : []
        if request.limit > 0, found.count > request.limit {
            found.removeLast(found.count - Int(request.limit))
        }
        guard let target = request.target else { return answer(call, request, found) }
        let members = found.map {
            ($0.member.array, request.storesDistance ? $0.distance / request.shape.unit : $0.score)
        }
        try SortedSetAlgebra.store(
            call, members, request.isSearch ? "geosearchstore" : "georadiusstore", at: target)
    }

    private static func answer(_ call: Call, _ request: Request, _ points: [Point]) {
        let reply = call.reply
        let extra = [request.withDistance, request.withHash, request.withPosition].count { $0 }
        reply.array(points.count)
        for point in points {
            if extra > 0 { reply.array(extra + 1) }
            reply.bulk(point.member)
            if request.withDistance {
                GeoCommands.writeDistance(point.distance / request.shape.unit, reply)
            }
            if request.withHash { reply.integer(Int64(bitPattern: Geohash(score: point.score).bits)) }
            if request.withPosition { GeoCommands.write(point.position, reply) }
        }
    }
}
