import Primitives
import RESPWire
import TieredStore

extension ReplyWriter {
    /// An element of a collection as a bulk string.
    @inline(__always)
    func bulk(_ element: Element) {
        switch element {
        case .bytes(let view): bulk(view)
        case .integer(let value): bulk(value)
        }
    }

    func bulkOrNull(_ element: Element?) { if let element { bulk(element) } else { null() } }
}

/// Replies with a member and a number each: flat in RESP2, pairs in RESP3.
extension Call {
    var isRESP3: Bool { reply.version == .resp3 }

    /// What SCAN and its relatives are given beside the cursor.
    struct ScanOptions {
        var cursor: UInt64 = 0
        var count = 10
        var glob: Glob?
    }

    /// HSCAN, SSCAN, ZSCAN: cursor at word 2. Nil when there is no key, which is answered here: Redis 7.0
    /// looks at the key before the options.
    func scanOptions(_ type: ValueType) throws(CommandError) -> ScanOptions? {
        var options = ScanOptions(cursor: try Options.cursor(arguments[2]))
        guard let found = keys.type(0) else {
            reply.array(2)
            reply.bulk("0")
            reply.array(0)
            return nil
        }
        if found != type { throw .wrongType }
        var i = 3
        while i < wordCount {
            guard i + 1 < wordCount else { throw .syntax }
            if arguments[i].matches("count") {
                let count = try Options.integer(arguments[i + 1])
                if count < 1 { throw .syntax }
                options.count = Int(min(count, 1 << 40))
            } else if arguments[i].matches("match") {
                options.glob = Glob(arguments[i + 1])
            } else {
                throw .syntax
            }
            i += 2
        }
        return options
    }
}

extension Call.ScanOptions {
    func matches(_ element: Element) -> Bool {
        guard let glob, !glob.isStar else { return true }
        return element.withBytes { glob.matches($0) }
    }
}
