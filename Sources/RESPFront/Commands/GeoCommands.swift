import Primitives
import RESPWire
import TieredStore

/// Positions on earth: a sorted set whose scores are geohashes. Searching is in `GeoSearch`.
enum GeoCommands {
    static func rows() -> [Command] { points() + GeoSearch.rows() }

    static func row(
        _ name: String, _ arity: Int, keys: Command.Keys = .first, _ flags: CommandFlags, _ since: String,
        _ summary: String, _ syntax: String, complexity: String, _ handler: @escaping Command.Handler
    ) -> Command {
        Command(name, arity, keys: keys, needs: .value, flags, group: "geo", since: since,
            complexity: complexity, summary, syntax: syntax, handler)
    }

    private static func points() -> [Command] {
        let each = "O(log(N)) for each member"
        return [
            row("geoadd", -5, [.write, .growsMemory], "3.2.0", "Adds members at positions, or moves them.",
                "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
                complexity: each, add)
                .access("RW update"),
            row("geopos", -2, [.readonly], "3.2.0", "Returns the positions of members.",
                "key [member [member ...]]", complexity: each, positions),
            row("geodist", -4, [.readonly], "3.2.0", "Returns the distance between two members.",
                "key member1 member2 [M | KM | FT | MI]", complexity: "O(log(N))", distance),
            row("geohash", -2, [.readonly], "3.2.0", "Returns members' positions as geohash texts.",
                "key [member [member ...]]", complexity: each, texts),
        ]
    }

    // MARK: Words

    /// A longitude and a latitude from word `i` on.
    static func position(_ call: Call, _ i: Int) throws(CommandError) -> Geohash.Position {
        func number(_ i: Int) throws(CommandError) -> Double {
            guard let value = Decimal.double(call.arguments[i]), !value.isNaN else { throw .notAFloat }
            return value
        }
        let position = Geohash.Position(longitude: try number(i), latitude: try number(i + 1))
        guard Geohash.longitudes.contains(position.longitude), Geohash.latitudes.contains(position.latitude)
        else {
            let pair = fixed(position.longitude, 6) + "," + fixed(position.latitude, 6)
            throw .message("ERR invalid longitude,latitude pair \(pair)")
        }
        return position
    }

    /// Metres in the unit word `i` names.
    static func unit(_ call: Call, _ i: Int) throws(CommandError) -> Double {
        let word = call.arguments[i]
        if word.matches("m") { return 1 }
        if word.matches("km") { return 1000 }
        if word.matches("ft") { return 0.3048 }
        if word.matches("mi") { return 1609.34 }
        throw .message("ERR unsupported unit provided. please use M, KM, FT, MI")
    }

    /// A number as C's "%.4f" and "%.6f" write it.
    static func fixed(_ value: Double, _ decimals: Int) -> String {
        String(decoding: Decimal.fixed(value, decimals: decimals), as: UTF8.self)
    }

    /// A coordinate or two: with 17 decimals and no trailing zeroes.
    static func write(_ position: Geohash.Position, _ reply: ReplyWriter) {
        reply.array(2)
        reply.fixedDouble(LongDouble(position.longitude))
        reply.fixedDouble(LongDouble(position.latitude))
    }

    static func writeDistance(_ distance: Double, _ reply: ReplyWriter) {
        Decimal.fixed(distance, decimals: 4).withView { reply.bulk($0) }
    }

    // MARK: Handlers

    /// GEOADD → the number of new members (CH: of changed ones), as ZADD.
    static func add(_ call: Call) throws(CommandError) {
        var options = SortedSetCommands.AddOptions(), at = 2
        while at < call.wordCount {
            let word = call.arguments[at]
            if word.matches("nx") { options.ifAbsent = true }
            else if word.matches("xx") { options.ifPresent = true }
            else if word.matches("ch") { options.countsChanges = true }
            else { break }
            at += 1
        }
        let words = call.wordCount - at
        if words % 3 != 0 || options.ifAbsent && options.ifPresent { throw .syntax }
        var members: [(ByteView, Double)] = []
        for i in stride(from: at, to: call.wordCount, by: 3) {
            let position = try position(call, i)
            members.append((call.arguments[i + 2], Double(Geohash(position).bits)))
        }
        if members.isEmpty { throw .syntax }
        try SortedSetCommands.add(call, members.count, options) { members[$0] }
    }

    static func positions(_ call: Call) throws(CommandError) {
        let set = try call.keys.sortedSet(0), reply = call.reply
        reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount {
            if let score = try set.score(call.arguments[i]) {
                write(Geohash(score: score).position, reply)
            } else {
                reply.nullArray()
            }
        }
    }

    static func texts(_ call: Call) throws(CommandError) {
        let set = try call.keys.sortedSet(0), reply = call.reply
        reply.array(call.wordCount - 2)
        for i in 2..<call.wordCount {
            if let score = try set.score(call.arguments[i]) {
                Geohash(score: score).text.withView { reply.bulk($0) }
            } else {
                reply.null()
            }
        }
    }

    static func distance(_ call: Call) throws(CommandError) {
        if call.wordCount > 5 { throw .syntax }
        let unit = call.wordCount == 5 ? try unit(call, 4) : 1
        let set = try call.keys.sortedSet(0)
        guard let first = try set.score(call.arguments[2]), let second = try set.score(call.arguments[3])
        else { return call.reply.null() }
        let metres = Geohash.distance(
            Geohash(score: first).position, Geohash(score: second).position)
        writeDistance(metres / unit, call.reply)
    }
}
